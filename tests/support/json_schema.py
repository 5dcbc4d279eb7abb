"""The part of JSON Schema that our schemas use. Any other keyword is a mistake."""

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
ANNOTATIONS = {"$schema", "$defs", "title", "description"}


def has_type(value, name):
    if name in ("integer", "number"):
        kinds = int if name == "integer" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def complaints(value, schema, root=None, path="$"):
    """Yields what is wrong, as "path: what"."""
    root = root or schema
    for word, wanted in schema.items():
        if word == "$ref":
            yield from complaints(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, path)
        elif word == "type":
            names = [wanted] if isinstance(wanted, str) else wanted
            if not any(has_type(value, name) for name in names):
                yield f"{path}: {value!r} is no {' or '.join(names)}"
                return
        elif word == "oneOf":
            each = [list(complaints(value, one, root, path)) for one in wanted]
            if each.count([]) != 1:
                yield from min(each, key=len) or [f"{path}: is of several kinds"]
        elif word == "const" and value != wanted or word == "enum" and value not in wanted:
            yield f"{path}: {value!r} is not {wanted!r}"
        elif word == "minimum" and has_type(value, "number") and value < wanted:
            yield f"{path}: {value} is less than {wanted}"
        elif word == "minItems" and len(value) < wanted:
            yield f"{path}: has {len(value)} items"
        elif word == "items" and isinstance(value, list):
            for number, item in enumerate(value):
                yield from complaints(item, wanted, root, f"{path}[{number}]")
        elif word == "required":
            for key in sorted(set(wanted) - set(value)):
                yield f"{path}: has no {key}"
        elif word == "properties" and isinstance(value, dict):
            for key in value.keys() & wanted.keys():
                yield from complaints(value[key], wanted[key], root, f"{path}.{key}")
        elif word == "additionalProperties" and isinstance(value, dict):
            for key in sorted(value.keys() - schema.get("properties", {}).keys()):
                if wanted is False:
                    yield f"{path}: has a key {key} that nobody described"
                else:
                    yield from complaints(value[key], wanted, root, f"{path}.{key}")
        elif word not in ANNOTATIONS | {"const", "enum", "minimum", "minItems", "items", "properties",
                                        "additionalProperties"}:
            yield f"{path}: the schema says {word}, which is not understood"
