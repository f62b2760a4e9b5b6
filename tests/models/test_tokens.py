"""Trees get token ids segment by segment, and never those of another model by mistake."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from espalier.errors import ModelError
from espalier.models import encode, encode_node, fingerprint, token_path, train_tokenizer
from espalier.trees import Node, Tree

TEXT = "12+34=46. one two"


@pytest.fixture
def starts():
    """A tokenizer that puts a start token before a text."""
    tokenizer = train_tokenizer([TEXT], kind="char", extra_chars="<>s")
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return tokenizer


def test_the_start_token_comes_once_and_the_end_token_only_after_a_complete_response(starts):
    root = Node("12", "prompt")
    step = root.add(Node("+34", stop="stop"))
    end = step.add(Node("=46", stop="eos"))
    encode([Tree(root)], starts)
    assert root.token_ids[0] == starts.bos_token_id
    assert len(root.token_ids) == 3
    assert len(step.token_ids) == 3
    assert end.token_ids[-1] == starts.eos_token_id
    assert token_path(end, starts) == root.token_ids + step.token_ids + end.token_ids
    assert encode_node(Node("<s>12", "prompt"), starts) == root.token_ids


def test_a_tokenizer_that_starts_texts_with_a_space_puts_none_inside_a_response():
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.train_from_iterator([TEXT, "\n"], trainers.BpeTrainer(special_tokens=["<unk>", "</s>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    root = Node("12", "prompt")
    leaf = root.add(Node("34")).add(Node(" one"))
    assert tokenizer.decode(token_path(leaf, tokenizer)) == "1234 one"
    assert tokenizer.convert_ids_to_tokens(encode_node(root, tokenizer))[0].startswith("▁")


def test_token_path_leaves_the_tree_as_it_was(tokenizer):
    root = Node("12", "prompt")
    leaf = root.add(Node("+1"))
    assert tokenizer.decode(token_path(leaf, tokenizer)) == "12+1"
    assert root.token_ids is None
    assert root.meta == {}


def test_sampled_token_ids_stay_as_sampled(tokenizer):
    root = Node("12", "prompt")
    ids = [tokenizer(c).input_ids[0] for c in "quick"]  # not how the tokenizer would split the word
    sampled = root.add(Node("quick", token_ids=list(ids)))
    encode([Tree(root)], tokenizer)
    assert sampled.token_ids == ids


def test_token_ids_of_another_tokenizer_are_refused(tokenizer):
    other = train_tokenizer([TEXT], kind="char")
    tree = Tree(Node("12", "prompt"), "t1")
    encode([tree], other)
    assert tree.root.meta["tokenizer"] == fingerprint(other)
    with pytest.raises(ModelError, match=r"tree 't1' has token ids of tokenizer"):
        encode([tree], tokenizer)
    tree.root.token_ids = None
    encode([tree], tokenizer)
    assert tree.root.meta["tokenizer"] == fingerprint(tokenizer)


def test_a_character_that_was_never_seen_is_an_error_that_names_it():
    with pytest.raises(ModelError, match="does not know 'é' in 'caf"):
        encode_node(Node("café"), train_tokenizer(["caf"], kind="char"))
