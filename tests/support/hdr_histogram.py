"""HdrHistogram's files, implemented from its specification and not from our code: the compressed form V2, logs,
and percentile distributions. Counts are {bucket index: samples}, for three digits and a unit of 1."""

import base64
import math
import re
import struct
import zlib

BUCKETS = 33 << 10  # up to 2**42 - 1
LARGEST = (1 << 42) - 1
PLAIN, COMPRESSED = 0x1C849313, 0x1C849314


def bounds(index):
    """The smallest and the largest value in a bucket."""
    if index < 2048:
        return index, index
    shift = (index >> 10) - 1
    smallest = ((index & 1023) + 1024) << shift
    return smallest, smallest + (1 << shift) - 1


def middle(index):
    smallest, largest = bounds(index)
    return smallest + (largest - smallest + 1) // 2


def leb128(number):
    number = (number << 1 ^ number >> 63) & (1 << 64) - 1
    encoded = bytearray()
    for _ in range(8):
        if number < 0x80:
            break
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode(counts, digits=3, payload=None, cookie=PLAIN, claimed=0):
    if payload is None:
        payload, at = b"", 0
        for index in sorted(counts):
            zeros = index - at
            payload += leb128(-zeros if zeros > 1 else 0) if zeros else b""
            payload += leb128(counts[index])
            at = index + 1
    plain = struct.pack(">IIIIqqd", cookie, len(payload) + claimed, 0, digits, 1, LARGEST, 1.0) + payload
    squeezed = zlib.compress(plain)
    return base64.b64encode(struct.pack(">II", COMPRESSED, len(squeezed)) + squeezed).decode()


def decode(text):
    raw = base64.b64decode(text, validate=True)
    cookie, size = struct.unpack_from(">II", raw)
    assert (cookie, size) == (COMPRESSED, len(raw) - 8), (hex(cookie), size, len(raw))
    plain = zlib.decompress(raw[8:])
    header = struct.unpack_from(">IIIIqqd", plain)
    assert header == (PLAIN, len(plain) - 40, 0, 3, 1, LARGEST, 1.0), header
    counts, at, index = {}, 40, 0
    while at < len(plain):
        number, shift = 0, 0
        for place in range(9):
            byte = plain[at]
            at += 1
            number |= (byte if place == 8 else byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        number = number >> 1 ^ -(number & 1)
        if number > 0:
            counts[index] = number
        index += -number if number < 0 else 1
    return counts


def read_log(text):
    """The lines of a log: [(tag or "", begin, length, largest, counts)]."""
    lines = text.splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]", lines[0]
    assert re.match(r"#\[StartTime: \d+\.\d{3} \(seconds since epoch\), .+\]\Z", lines[1]), lines[1]
    assert lines[2] == ('"StartTimestamp","Interval_Length","Interval_Max",'
                        '"Interval_Compressed_Histogram"'), lines[2]
    read = []
    for line in lines[3:]:
        tag, *values, histogram = re.match(
            r"(?:Tag=(\w+),)?(\d+\.\d{3}),(\d+\.\d{3}),(\d+\.\d{3}),([^,]+)\Z", line).groups()
        read.append((tag or "", *map(float, values), decode(histogram)))
    return read


def percentiles(counts):
    """The text of a percentile distribution: five lines for each halving of the distance to 100 %."""
    total = sum(counts.values())
    text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
    level, seen = 0.0, 0
    for index in sorted(counts):
        seen += counts[index]
        value = bounds(index)[1] / 1e6
        while 100 * seen / total >= level:
            share = math.floor(level * 1e10 + 0.5) / 1e12
            text += f"{value:12.3f} {share:2.12f} {seen:10d} {1 / (1 - level / 100):14.2f}\n"
            level += 100 / (5 * 2 ** (math.floor(math.log2(100 / (100 - level))) + 1))
            if seen == total:
                text += f"{value:12.3f} {1:2.12f} {seen:10d}\n"
                break
    mean = sum(middle(index) * count for index, count in counts.items()) / total
    square = sum((middle(index) - mean) ** 2 * count for index, count in counts.items()) / total
    return text + (f"#[Mean    = {mean / 1e6:12.3f}, StdDeviation   = {math.sqrt(square) / 1e6:12.3f}]\n"
                   f"#[Max     = {value:12.3f}, Total count    = {total:12d}]\n"
                   f"#[Buckets = {32:12d}, SubBuckets     = {2048:12d}]\n")
