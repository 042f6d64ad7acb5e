#!/usr/bin/env python3
"""Writes src/wire/kinesis/model.rs and tests/data/kinesis_model.json from the service model that botocore ships.

    pip install botocore==1.44.5
    tools/wire_model.py            writes the files
    tools/wire_model.py --check    fails if they are not what would be written

What comes from the model are facts: names, types, bounds, which errors an operation names. Its prose is not used.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

BOTOCORE = "1.44.5"
SERVICE, API_VERSION = "kinesis", "2013-12-02"
ROOT = Path(__file__).resolve().parent.parent
TYPES = ROOT / "src/wire/kinesis/model.rs"
# What the conformance matrix has rows for.
MATRIX = ROOT / "tests/data/kinesis_model.json"

# Their types are not made before they are served.
NOT_SERVED = re.compile(r"Channel|Queue")

# Members that say what a request is about, the most telling first.
NAMING = ["ConsumerARN", "StreamARN", "ResourceARN", "StreamName"]

ODD_NAMES = {"Type": "kind", "MaxRecordSizeInKiB": "max_record_size_in_kib", "WarmThroughputMiBps": "warm_throughput_mibps",
             "TargetMiBps": "target_mibps", "CurrentMiBps": "current_mibps"}


def load():
    import botocore
    from botocore.loaders import Loader
    if botocore.__version__ != BOTOCORE:
        sys.exit(f"botocore {BOTOCORE} is needed, this is {botocore.__version__}: pip install botocore=={BOTOCORE}")
    return Loader().load_service_model(SERVICE, "service-2", API_VERSION)


def snake(name):
    if name in ODD_NAMES:
        return ODD_NAMES[name]
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def lower_first(name):
    return name[0].lower() + name[1:]


def number(n):
    return f"{n:,}".replace(",", "_")


class Model:
    def __init__(self, model):
        self.shapes = model["shapes"]
        self.operations = model["operations"]
        self.metadata = model["metadata"]

    def served(self):
        return {name: o for name, o in self.operations.items() if not NOT_SERVED.search(name)}

    def reachable(self):
        """Structures that served operations send or get, and which of them are sent: those are checked."""
        all_of, sent = {}, set()

        def walk(name, is_input):
            shape = self.shapes[name]
            if shape["type"] == "structure":
                if shape.get("exception") or (name in all_of and (not is_input or name in sent)):
                    return
                all_of[name] = shape
                if is_input:
                    sent.add(name)
                for member in shape["members"].values():
                    walk(member["shape"], is_input)
            elif shape["type"] == "list":
                walk(shape["member"]["shape"], is_input)

        for operation in self.served().values():
            for side in ("input", "output"):
                if side in operation:
                    walk(operation[side]["shape"], side == "input")
        return {n: s for n, s in sorted(all_of.items()) if not s.get("eventstream")}, sent

    def rust(self, name):
        shape = self.shapes[name]
        return {
            "structure": lambda: name,
            "list": lambda: f"Vec<{self.rust(shape['member']['shape'])}>",
            "map": lambda: f"BTreeMap<{self.rust(shape['key']['shape'])}, {self.rust(shape['value']['shape'])}>",
            "string": lambda: "String",
            "integer": lambda: "i32",
            "long": lambda: "i64",
            "boolean": lambda: "bool",
            "timestamp": lambda: "Timestamp",
            "blob": lambda: "Blob",
        }[shape["type"]]()

    def rule(self, name):
        """The static that holds the bounds of a shape, if it has any: its name and its definition."""
        shape = self.shapes[name]
        kind = shape["type"]
        static = snake(name).upper()
        low, high = shape.get("min"), shape.get("max")
        if kind == "string":
            if "enum" in shape:
                values = ", ".join(f'"{v}"' for v in shape["enum"])
                return static, f"static {static}: Text = Text::one_of(&[{values}]);"
            if low is None and high is None and "pattern" not in shape:
                return None
            bounds = f"{number(low or 0)}, {number(high) if high is not None else 'usize::MAX'}"
            text = f"Text::like({bounds}, r\"{shape['pattern']}\")" if "pattern" in shape else f"Text::of({bounds})"
            return static, f"static {static}: Text = {text};"
        if low is None and high is None:
            return None
        low = number(low) if low is not None else "i64::MIN"
        high = number(high) if high is not None else "i64::MAX"
        return static, f"static {static}: Bounds = Bounds({low}, {high});"


def checks(model, name, rules):
    """The lines that check the members of a structure."""
    shape, lines = model.shapes[name], []

    def rule_of(member):
        found = model.rule(member)
        if found is None:
            return None
        rules[found[0]] = found[1]
        return found[0]

    for member, about in shape["members"].items():
        field, at, of = snake(member), lower_first(member), about["shape"]
        kind, rule = model.shapes[of]["type"], rule_of(of)
        if member in shape.get("required", []):
            lines.append(f'report.required("{at}", self.{field}.is_some());')
        if kind == "string" and rule:
            lines.append(f'report.text("{at}", self.{field}.as_deref(), &{rule});')
        elif kind in ("integer", "long") and rule:
            lines.append(f'report.number("{at}", self.{field}.map(i64::from), &{rule});')
        elif kind == "blob" and rule:
            lines.append(f'report.length("{at}", self.{field}.as_ref().map(|blob| blob.0.len()), &{rule});')
        elif kind == "structure":
            lines.append(f'report.shape("{at}", self.{field}.as_ref());')
        elif kind == "list":
            if rule:
                lines.append(f'report.length("{at}", self.{field}.as_ref().map(Vec::len), &{rule});')
            item = model.shapes[of]["member"]["shape"]
            if model.shapes[item]["type"] == "structure":
                lines.append(f'report.shapes("{at}", self.{field}.as_deref());')
            elif inner := rule_of(item):
                lines.append(f'report.texts("{at}", self.{field}.as_deref(), &{inner});')
        elif kind == "map":
            if rule:
                lines.append(f'report.length("{at}", self.{field}.as_ref().map(BTreeMap::len), &{rule});')
            key, value = rule_of(model.shapes[of]["key"]["shape"]), rule_of(model.shapes[of]["value"]["shape"])
            lines.append(f'report.entries("{at}", self.{field}.as_ref(), &{key}, &{value});')
    return lines


def reads(model, name):
    """The part of a member's attribute that reads no more of it than it may have, for lists and maps of what is sent."""
    shape = model.shapes[name]
    if shape["type"] not in ("list", "map"):
        return ""
    if "max" not in shape:
        sys.exit(f"{name} is sent and has no bound: whoever sends it would choose how much memory it takes")
    inner = "_, _" if shape["type"] == "list" else "_, _, _"
    return f', deserialize_with = "bounded::{shape["type"]}::<{shape["max"]}, {inner}>"'


def bounds_in_words(model, name):
    shape, words = model.shapes[name], []
    unit = {"string": " characters", "blob": " bytes", "list": " elements", "map": " entries"}.get(shape["type"], "")
    low, high = shape.get("min"), shape.get("max")
    if low is not None and high is not None:
        words.append(f"{low} to {high}{unit}")
    elif low is not None:
        words.append(f"at least {low}{unit}")
    elif high is not None:
        words.append(f"at most {high}{unit}")
    if "enum" in shape:
        words.append(" or ".join(f"`{v}`" for v in shape["enum"]))
    elif "pattern" in shape:
        words.append(f"like `{shape['pattern']}`")
    return ", ".join(words)


def generate(model):
    structures, sent = model.reachable()
    rules, out = {}, []
    role = {}
    for name, operation in model.operations.items():
        for side in ("input", "output"):
            if side in operation:
                role[operation[side]["shape"]] = f"The {side} of `{name}`."

    bodies = []
    for name, shape in structures.items():
        bodies.append(f"/// {role.get(name, f'`{name}` of the model.')}")
        bodies.append("#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]")
        bodies.append("#[serde(default)]")
        if not shape["members"]:
            bodies.append(f"pub struct {name} {{}}\n")
        else:
            bodies.append(f"pub struct {name} {{")
            for member, about in shape["members"].items():
                if model.shapes[about["shape"]].get("eventstream"):
                    continue
                words = bounds_in_words(model, about["shape"])
                must = "Required" if member in shape.get("required", []) else "Optional"
                bodies.append(f"    /// {must}{': ' + words if words else ''}.")
                read = reads(model, about["shape"]) if name in sent else ""
                bodies.append(f'    #[serde(rename = "{member}"{read}, skip_serializing_if = "Option::is_none")]')
                bodies.append(f"    pub {snake(member)}: Option<{model.rust(about['shape'])}>,")
            bodies.append("}\n")
        if name in sent:
            lines = checks(model, name, rules)
            report = "report" if lines else "_report"
            bodies.append(f"impl Shape for {name} {{")
            bodies.append(f"    fn check(&self, {report}: &mut Report) {{")
            bodies += [f"        {line}" for line in lines]
            bodies.append("    }")
            names = [snake(member) for member in NAMING if member in shape["members"]]
            if names:
                first = f"self.{names[0]}.as_deref()"
                others = "".join(f".or(self.{name}.as_deref())" for name in names[1:])
                bodies.append(f"\n    fn resource(&self) -> Option<&str> {{\n        {first}{others}\n    }}")
            bodies.append("}\n")

    out.append("//! The operations and types of Kinesis Data Streams.")
    out.append("//!")
    out.append(f"//! Written by `tools/wire_model.py` from the service model of {API_VERSION} in botocore {BOTOCORE}; not by hand.")
    out.append("")
    out.append("use std::collections::BTreeMap;\n")
    out.append("use serde::{Deserialize, Serialize};\n")
    out.append("use crate::wire::bounded;")
    out.append("use crate::wire::check::{Bounds, Report, Shape, Text};")
    out.append("use crate::wire::scalar::{Blob, Timestamp};\n")
    out.append("/// What `X-Amz-Target` begins with, before a dot and the operation.")
    out.append(f'pub const TARGET_PREFIX: &str = "{model.metadata["targetPrefix"]}";\n')

    out.append("/// An operation of the service.")
    out.append("#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]")
    out.append("pub enum Operation {")
    for name in model.operations:
        out.append(f"    /// `{name}`.")
        out.append(f"    {name},")
    out.append("}\n")
    out.append("impl Operation {")
    out.append("    /// All of them, in alphabetical order.")
    out.append("    pub const ALL: &[Operation] = &[")
    for name in model.operations:
        out.append(f"        Operation::{name},")
    out.append("    ];\n")
    out.append("    /// Its name in the model.")
    out.append("    pub fn name(self) -> &'static str {\n        match self {")
    for name in model.operations:
        out.append(f'            Operation::{name} => "{name}",')
    out.append("        }\n    }\n")
    out.append("    /// The errors that the model names for it.")
    out.append("    pub fn errors(self) -> &'static [ErrorCode] {\n        match self {")
    for name, operation in model.operations.items():
        errors = ", ".join(f"ErrorCode::{e['shape']}" for e in operation.get("errors", []))
        out.append(f"            Operation::{name} => &[{errors}],")
    out.append("        }\n    }\n}\n")

    errors = {n: s for n, s in sorted(model.shapes.items()) if s.get("exception")}
    out.append("/// An error that the model names.")
    out.append("#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]")
    out.append("pub enum ErrorCode {")
    for name in errors:
        out.append(f"    /// `{name}`.")
        out.append(f"    {name},")
    out.append("}\n")
    out.append("impl ErrorCode {")
    out.append("    /// Its name in the model.")
    out.append("    pub fn name(self) -> &'static str {\n        match self {")
    for name in errors:
        out.append(f'            ErrorCode::{name} => "{name}",')
    out.append("        }\n    }\n")
    out.append("    /// Whether it is the server's fault (status 500) and not the caller's (400).")
    out.append("    pub fn is_fault(self) -> bool {")
    faults = " | ".join(f"ErrorCode::{n}" for n, s in errors.items() if s.get("fault"))
    out.append(f"        matches!(self, {faults})\n    }}\n}}\n")

    out += [rules[name] for name in sorted(rules)]
    out.append("")
    out += bodies
    return "\n".join(out)



def formatted(text):
    done = subprocess.run(["rustfmt", "--edition", "2024", "--config-path", str(ROOT)],
                          input=text, capture_output=True, text=True, check=True)
    return done.stdout


def matrix(model):
    """Each operation with the paths of all members of what it takes and answers, and its errors."""

    def paths(name, prefix=""):
        shape, found = model.shapes[name], []
        if shape["type"] == "structure" and not shape.get("exception"):
            for member, about in shape["members"].items():
                if model.shapes[about["shape"]].get("exception"):
                    continue
                path = f"{prefix}.{member}" if prefix else member
                found.append(path)
                found += paths(about["shape"], path)
        elif shape["type"] == "list":
            found += paths(shape["member"]["shape"], f"{prefix}[]")
        return found

    rows = {}
    for name, operation in model.operations.items():
        rows[name] = {
            "served": name in model.served(),
            "input": paths(operation["input"]["shape"]) if "input" in operation else [],
            "output": paths(operation["output"]["shape"]) if "output" in operation else [],
            "errors": [e["shape"] for e in operation.get("errors", [])],
        }
    return json.dumps({"version": f"botocore {BOTOCORE}, {SERVICE} {API_VERSION}", "operations": rows}, indent=1) + "\n"


def main():
    model = Model(load())
    for path, text in [(TYPES, formatted(generate(model))), (MATRIX, matrix(model))]:
        if "--check" in sys.argv[1:]:
            if path.read_text() != text:
                sys.exit(f"{path} is not what tools/wire_model.py writes: run it")
            print(f"{path} is up to date")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"{path}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
