"""The model that ships: its folder loads, is small, keeps case and copies a string never seen."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import embedded

_MODEL = embedded.path("tiny") if "tiny" in embedded.names() else None
pytestmark = pytest.mark.skipif(_MODEL is None, reason="the model is not built in this checkout")


def _continuation(prompt: str, tokens: int) -> str:
    assert _MODEL is not None
    tokenizer = AutoTokenizer.from_pretrained(_MODEL)
    model = AutoModelForCausalLM.from_pretrained(_MODEL, dtype="float32")
    inputs = tokenizer(prompt, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    output = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=tokens,
        do_sample=False,
    )
    return str(tokenizer.decode(output[0][length:], skip_special_tokens=True))


def test_the_folder_is_complete_and_small() -> None:
    assert _MODEL is not None
    names = {file.name for file in _MODEL.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
    assert {"tokenizer.json", "tokenizer_config.json"} <= names
    assert sum(file.stat().st_size for file in _MODEL.iterdir()) <= 10_000_000


def test_the_tokenizer_gives_back_what_it_read() -> None:
    text = " The MRI of Mr. Quoll:\n\nZorvanib 20.5 mg (BID), naïve? | a; b"
    tokenizer = AutoTokenizer.from_pretrained(_MODEL)
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_a_text_begins_with_the_mark_that_every_document_of_the_pretraining_began_with() -> None:
    tokenizer = AutoTokenizer.from_pretrained(_MODEL)
    assert tokenizer("one").input_ids[0] == tokenizer.bos_token_id
    assert tokenizer("one").input_ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer("one", add_special_tokens=False).input_ids[0] != tokenizer.bos_token_id


def test_it_copies_strings_it_never_saw_in_their_case() -> None:
    text = " Zorvanib trellick BRUNTOSK ommady Fesk"
    assert _continuation(f"{text}\n copy:", 40).startswith(text)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="tiny"):
        embedded.path("huge")
