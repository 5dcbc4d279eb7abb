"""The measured samples, written to disk after each one, so that nothing is lost."""

import json

from measuring import Failure


class Journal:
    """A file of lines: a header that says what is measured where, then [key, value, seconds] for each sample.

    A key is a list of words and numbers. A journal with another header is not continued.
    """

    def __init__(self, path, header):
        self.path, self.header, self.values, self.seconds = path, header, {}, 0.0
        self.failures = {}  # of this run: the next one tries again
        if path.exists() and path.stat().st_size > 0:
            self.read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.append(header)

    def read(self):
        lines = self.path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last may have been cut off
        try:
            header, *samples = map(json.loads, whole)
            self.values = {tuple(key): value for key, value, _ in samples}
            self.seconds = sum(seconds for _, _, seconds in samples)
            different = [name for name in self.header if header.get(name) != self.header[name]]
        except (ValueError, TypeError, AttributeError) as error:
            raise Failure(f"{self.path} is no journal: {error}") from None
        different = [name for name in different if name != "started"]
        if different:
            raise Failure(
                f"{self.path} is of another measurement ({', '.join(different)} differ): take another "
                "--output, or --fresh to begin again"
            )
        self.header = header
        if whole != lines:
            self.path.write_text("".join(whole))

    def append(self, entry):
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def __contains__(self, key):
        return tuple(key) in self.values

    def __getitem__(self, key):
        return self.values[tuple(key)]

    def get(self, *key):
        return self.values.get(key)

    def all(self, *begin):
        """The values of all keys with this beginning, in the order of the rest of their keys."""
        found = [key for key in self.values if key[: len(begin)] == begin]
        return [self.values[key] for key in sorted(found, key=str)]

    def add(self, key, value, seconds):
        self.append([list(key), value, round(seconds, 3)])
        self.seconds += seconds
        self.values[tuple(key)] = value

    def failed(self, key, why):
        self.failures[tuple(key)] = why

    def why_failed(self, *begin):
        """Why the first sample failed whose key has this beginning, if one did."""
        return next((why for key, why in self.failures.items() if key[: len(begin)] == begin), None)
