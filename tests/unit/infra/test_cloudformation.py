from pathlib import Path

import pytest

from infra.cloudformation import Resolver, TemplateError, load

RESOLVER = Resolver(
    values={
        "AWS::Region": "us-east-1",
        "Name": "n",
        "Number": 7,
        "Flag": True,
        "List": ["a", "b"],
        "Table": "table",
        "Table.Arn": "arn:table",
    },
    conditions={
        "Yes": {"Fn::Equals": [{"Ref": "Name"}, "n"]},
        "No": {"Fn::Not": [{"Condition": "Yes"}]},
        "Both": {"Fn::And": [{"Condition": "Yes"}, {"Condition": "No"}]},
        "Either": {"Fn::Or": [{"Condition": "Yes"}, {"Condition": "No"}]},
        "Odd": "yes",
    },
    mappings={"Sizes": {"small": {"memory": 128}}},
)


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ("text", "text"),
        (7, 7),
        ({"Ref": "Name"}, "n"),
        ({"Ref": "Table"}, "table"),
        ({"Fn::GetAtt": ["Table", "Arn"]}, "arn:table"),
        ({"Fn::GetAtt": "Table.Arn"}, "arn:table"),
        ({"Fn::Sub": "${AWS::Region}/${Table.Arn}/${Number}/${Flag}"}, "us-east-1/arn:table/7/true"),
        ({"Fn::Sub": "${!Name} ${ Name }"}, "${Name} n"),
        ({"Fn::Sub": ["${Own}-${Name}", {"Own": {"Ref": "Table"}}]}, "table-n"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Name"}, 7]]}, "a-n-7"),
        ({"Fn::Join": [",", {"Ref": "List"}]}, "a,b"),
        ({"Fn::Select": [1, {"Ref": "List"}]}, "b"),
        ({"Fn::Select": ["0", {"Fn::Split": [",", "x,y"]}]}, "x"),
        ({"Fn::FindInMap": ["Sizes", "small", "memory"]}, 128),
        ({"Fn::If": ["Yes", "a", {"Ref": "Nothing"}]}, "a"),
        ({"Fn::If": ["No", "a", "b"]}, "b"),
        ({"Fn::If": ["Both", "a", "b"]}, "b"),
        ({"Fn::If": ["Either", "a", "b"]}, "a"),
        ({"Fn::Equals": ["a", "a"]}, True),
        ({"a": {"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, "b": 2}, {"b": 2}),
        ([1, {"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}], [1]),
        ({"a": [{"b": {"Ref": "Name"}}]}, {"a": [{"b": "n"}]}),
    ],
)
def test_an_intrinsic_function_is_resolved(node: object, value: object) -> None:
    assert RESOLVER.resolve(node, "here") == value


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"Ref": "Nothing"}, "here: Nothing has no value"),
        ({"Fn::Sub": "${Nothing}"}, "Nothing has no value"),
        ({"Fn::Sub": "${List}"}, "expected text"),
        ({"Fn::GetAtt": ["Table", "StreamArn"]}, r"Table\.StreamArn has no value"),
        ({"Fn::If": ["Nothing", 1, 2]}, "no condition Nothing"),
        ({"Fn::If": ["Odd", 1, 2]}, "is not a condition"),
        ({"Fn::ImportValue": "x"}, "here: no stack exports x"),
        ({"Fn::Base64": "x"}, "Fn::Base64 is not supported"),
        ({"Fn::FindInMap": ["Sizes", "large", "memory"]}, "no large/memory"),
        ({"Ref": "AWS::NoValue"}, "is not possible here"),
    ],
)
def test_unresolved_value_names_its_place(node: object, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        RESOLVER.resolve(node, "here")


def test_short_forms_become_long_forms(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(
        """
        Resources:
          A: &a
            - !Ref Name
            - !Sub "${Name}"
            - !GetAtt Table.Arn
            - !Join ["-", [!Ref Name, b]]
            - !If ["Yes", !Ref Name, !Ref AWS::NoValue]
            - !Sub ["${Own}", {Own: !Ref Name}]
          B: *a
          Version: 2012-10-17
          Merged: {<<: {x: 1}, y: 2}
        """,
        encoding="utf-8",
    )
    resources = load(path)["Resources"]
    resolved = RESOLVER.resolve(resources["A"], "here")
    assert resolved == ["n", "n", "arn:table", "n-b", "n", "n"]
    assert resources["B"] == resources["A"]
    assert resources["Version"] == "2012-10-17"
    assert resources["Merged"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resources:\n  A: 1\n  A: 2\n", r"template\.yaml, line 3: duplicate key A"),
        ("Resources:\n  A: !Cidr x\n", "line 2: !Cidr is not supported"),
        ("Resources: [", "line 2: did not find expected node content"),
        ("Resources:\n  A: !!python/object:os.system {}\n", "line 2: could not determine a constructor"),
        ("Outputs: {}", "has no Resources"),
        ("just text", "has no Resources"),
    ],
)
def test_unreadable_template_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TemplateError, match=message):
        load(path)


def test_missing_template_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read: No such file"):
        load(tmp_path / "template.yaml")
