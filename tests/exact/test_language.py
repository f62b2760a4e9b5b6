"""The enumeration itself: which strings there are, and how next-token and string probabilities belong together."""

import pytest
import torch

from espalier import from_config
from espalier.errors import ConfigError
from espalier.exact import Language, Neural, Tabular, bandit, tokenizer
from tests.tiny import config

LANGUAGES = [Language("ab", 3), Language("abc", 2, prompts=("a", "bc")), Language("ab", 3, end=False), bandit(4, 2)]


def test_texts_are_every_text_once_and_children_follow_parents():
    language = Language("abc", 3)
    assert len(set(language.texts)) == len(language.texts) == 1 + 3 + 9 + 27
    for text in range(language.prefixes):
        for token, symbol in enumerate("abc"):
            assert language.texts[language.child(text, token)] == language.texts[text] + symbol


def test_a_string_has_its_end_token_unless_it_is_full():
    language = Language("ab", 2)
    assert [language.ids(i) for i in range(7)] == [[2], [0, 2], [1, 2], [0, 0], [0, 1], [1, 0], [1, 1]]
    assert [Language("ab", 2, end=False).ids(i) for i in range(4)] == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("language", LANGUAGES, ids=repr)
def test_strings_add_up_to_one_and_tell_their_next_tokens(language):
    policy = Tabular.random(language, seed=1)
    law = policy()
    assert law.shape == (len(language.prompts), len(language.strings))
    torch.testing.assert_close(law.exp().sum(-1), torch.ones_like(law[:, 0]))
    torch.testing.assert_close(policy.token_logprobs().sum(-1), law)
    torch.testing.assert_close(language.next_logprobs(law), policy.next_logprobs())
    torch.testing.assert_close(Tabular.of(language, law)(), law)


def test_a_string_probability_is_the_product_of_its_tokens_by_hand():
    policy = Tabular.random(Language("ab", 2), seed=3)
    after = policy.next_logprobs()[0]  # prefixes "", "a", "b"; tokens a, b, end
    law = policy().detach()
    assert law[0, 5].item() == pytest.approx((after[0, 1] + after[2, 0]).item())  # "ba"
    assert law[0, 1].item() == pytest.approx((after[0, 0] + after[1, 2]).item())  # "a", then the end


def test_an_impossible_prefix_goes_on_uniformly_and_stays_impossible():
    language = Language("ab", 2)
    law = torch.tensor([[-torch.inf, 0.5, -torch.inf, 0.25, 0.25, -torch.inf, -torch.inf]]).double().log()
    law = torch.where(torch.isnan(law), -torch.inf, law)
    following = language.next_logprobs(law)
    torch.testing.assert_close(following[0, 2].exp(), torch.full((3,), 1 / 3).double())
    torch.testing.assert_close(language.string_logprobs(following).exp(), law.exp())


def test_a_transformer_gives_the_same_log_probs_as_a_run_on_each_string_alone():
    language = Language("abc", 3, prompts=("a", "bc"))
    model = from_config(config("qwen2", layers=2), tokenizer(language))
    law = Neural(language, model.hf)()
    torch.testing.assert_close(law.exp().sum(-1), torch.ones(2).double())
    for prompt, string in [(0, 0), (0, 7), (1, 3), (1, 39)]:
        before = [language.symbols.index(symbol) for symbol in language.prompts[prompt]]
        ids = torch.tensor([before + language.ids(string)])
        every = model.hf(input_ids=ids).logits[0].log_softmax(-1)
        alone = sum(every[place - 1, ids[0, place]] for place in range(len(before), ids.shape[1]))
        assert law[prompt, string].item() == pytest.approx(alone.item(), abs=1e-5)


def test_its_tokenizer_numbers_tokens_as_the_language_does():
    language = Language("abc", 2)
    plain, padded = tokenizer(language), tokenizer(language, pad=True)
    assert plain("cab").input_ids == [2, 0, 1]
    assert plain.decode([2, 0, 1]) == "cab"
    assert (plain.eos_token_id, len(plain), padded.pad_token_id, len(padded)) == (3, 4, 4, 5)


def test_what_is_no_language_is_refused():
    for wrong in ({"symbols": "aa"}, {"symbols": ""}, {"length": 0}, {"prompts": ("x",)}, {"prompts": ("a", "a")}):
        with pytest.raises(ConfigError):
            Language(**wrong)
    with pytest.raises(ConfigError, match="arms"):
        bandit(2, prompts=3)
