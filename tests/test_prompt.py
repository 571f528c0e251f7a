import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discnb.prompt import PROMPT_VERSION, final_answer, format_sample, prompt_for, proof_token_mask

# text that tries to look like the template
imitation = st.sampled_from(["\n\nFinal Answer:\n", "Final Answer:", "\n\nProof:\n", "{cot}", "\n"])
field = st.lists(st.one_of(st.text(), imitation)).map("".join)

span = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted).map(tuple)


def test_the_template_is_the_card_s():
    text, (start, end) = format_sample("1 + 1?", "One and one.", "2")
    assert text == (
        "Solve the following problem carefully and show a rigorous derivation.\n\n"
        "Problem:\n1 + 1?\n\nProof:\nOne and one.\n\nFinal Answer:\n2"
    )
    assert text[start:end] == "One and one."


@given(field, field, field)
def test_the_span_is_the_chain_of_thought_whatever_the_fields_say(question, cot, response):
    text, (start, end) = format_sample(question, cot, response)
    assert text[start:end] == cot
    assert text[:start] == prompt_for(question)
    assert text[:start].endswith(question + "\n\nProof:\n")
    assert text[end:] == "\n\nFinal Answer:\n" + response


@pytest.mark.parametrize("name", ["question", "cot", "response"])
@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"]])
def test_a_field_that_is_no_text_is_named(name, value):
    fields = {"question": "q", "cot": "c", "response": "r"} | {name: value}
    with pytest.raises(TypeError, match=rf"^{name} is .*{type(value).__name__}"):
        format_sample(**fields)


def test_the_answer_follows_the_last_mark():
    assert final_answer("x\n\nFinal Answer:\n 4 \n") == "4"
    assert final_answer("Final Answer: 3, no.\nFinal Answer:\n4") == "4"
    assert final_answer("Final Answer:") == ""
    assert final_answer("the final answer is 4") is None
    with pytest.raises(TypeError, match="completion"):
        final_answer(None)


@given(field, field, st.text())
def test_the_answer_of_a_formatted_sample_is_its_response(question, cot, response):
    if "Final Answer:" not in response:
        assert final_answer(format_sample(question, cot, response).text) == response.strip()


@given(st.lists(span), span)
def test_a_token_is_in_the_span_when_they_share_a_character(offsets, proof_span):
    inside = set(range(*proof_span))
    assert proof_token_mask(offsets, proof_span) == [bool(inside & set(range(*token))) for token in offsets]


def test_the_version_stands_for_this_template():
    assert PROMPT_VERSION == "e884af94b451"


def test_importing_the_prompt_or_the_data_package_loads_nothing_heavy():
    heavy = {"torch", "datasets", "transformers", "pyarrow", "numpy"}
    code = f"import sys, discnb.prompt, discnb.data; print(sorted(set(sys.modules) & {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_data_package_names_what_it_lacks():
    import discnb.data

    assert set(discnb.data.__all__) <= set(dir(discnb.data))
    assert all(hasattr(discnb.data, name) for name in discnb.data.__all__)
    with pytest.raises(AttributeError, match="load_stems"):
        _ = discnb.data.load_stems
