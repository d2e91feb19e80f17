from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from harness.data import tabular as hub
from harness.data.rows import Row, Span, Wanted
from harness.data.tabular import PARQUET, SAVED
from harness.errors import UserError

TAGGED = {
    "tokens": [["Gout", "hurts"], ["Fine", "."]],
    "ner_tags": [[1, 0], [0, 0]],
}
FEATURES = Features(
    {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-C", "I-C"]))}
)


def test_tags_kept_as_numbers_become_entities(tmp_path: Path) -> None:
    Dataset.from_dict(TAGGED, features=FEATURES).save_to_disk(tmp_path / "dev")
    assert SAVED.read(tmp_path / "dev", Wanted("entities")) == (
        Row("dev1", "Gout hurts", (Span(0, 4, "C", "Gout"),)),
        Row("dev2", "Fine ."),
    )


def test_classes_kept_as_numbers_become_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).save_to_disk(
        tmp_path / "dev"
    )
    wanted = Wanted("pairs", fields={"input": "text", "output": "label"})
    assert [row.output for row in SAVED.read(tmp_path / "dev", wanted)] == ["yes", "no"]


def test_the_folder_above_the_splits_is_told(tmp_path: Path) -> None:
    one = Dataset.from_dict({"text": ["a"]})
    DatasetDict({"train": one, "validation": one}).save_to_disk(tmp_path)
    with pytest.raises(UserError, match=r"holds splits \(train, validation\)"):
        SAVED.read(tmp_path, Wanted("text"))
    assert SAVED.read(tmp_path / "train", Wanted("text")) == (Row("train1", "a"),)


def test_a_fault_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "dev.parquet"
    Dataset.from_dict({"text": ["a", " "]}).to_parquet(path)
    with pytest.raises(UserError, match=r"dev\.parquet: row 2: 'text' is empty"):
        PARQUET.read(path, Wanted("text"))


def test_files_of_another_kind_are_told(tmp_path: Path) -> None:
    path = tmp_path / "dev.parquet"
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(UserError, match=r"dev\.parquet: no Parquet file that can be read") as told:
        PARQUET.read(path, Wanted("text"))
    assert "\n" not in str(told.value)
    (tmp_path / "saved").mkdir()
    with pytest.raises(UserError, match="saved: no saved data set"):
        SAVED.read(tmp_path / "saved", Wanted("text"))


@pytest.fixture
def like_a_hub(tmp_path: Path) -> str:
    """A folder as the hub keeps it: two configurations, named in the README's head."""
    for config, word in (("small", "s"), ("large", "l")):
        for split in ("train", "dev"):
            (tmp_path / "set" / config).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / config / f"{split}.jsonl").write_text(
                "".join(f'{{"sentence": "{word} {split} {n}"}}\n' for n in range(2))
            )
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {s}\n    path: {config}/{s}.jsonl\n" for s in ("train", "dev"))
        for config in ("small", "large")
    )
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return str(tmp_path / "set")


def test_a_data_set_of_the_hub_is_read_by_configuration_and_split(like_a_hub: str) -> None:
    assert hub.split_names(like_a_hub, "small", None) == ("train", "dev")
    wanted = Wanted("text", fields={"text": "sentence"})
    rows = hub.read(like_a_hub, "large", None, "dev", wanted)
    assert [row.text for row in rows] == ["l dev 0", "l dev 1"]


def test_what_the_hub_does_not_have_is_told_in_one_line(like_a_hub: str, tmp_path: Path) -> None:
    wanted = Wanted("text", fields={"text": "sentence"})
    for name, config, split, told in (
        (like_a_hub, "small", "devel", "no split 'devel'; did you mean 'dev'?"),
        (like_a_hub, "medium", "dev", "neither a data set of the hub nor a folder"),
        (str(tmp_path / "none"), None, "dev", "none: no such folder, and no id of the hub"),
        (like_a_hub, "small", "dev", "row 1: no 'text'"),
    ):
        with pytest.raises(UserError) as fault:
            hub.read(name, config, None, split, Wanted("text") if "row" in told else wanted)
        assert told in str(fault.value)
        assert "\n" not in str(fault.value)
