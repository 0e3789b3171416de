"""Recipe → data, autoencoder, objective and the checked keywords of training and evaluation."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch

from pellucid.bottlenecks import BOTTLENECKS
from pellucid.build.cells import assemble_cells, is_cells
from pellucid.build.construct import call, check_keywords, construct
from pellucid.build.stacks import NORMALISED, build_normaliser, reads_stacks
from pellucid.data import DATA, AudioData, CellData, ImageData, StackData
from pellucid.data.stacks.normalisers import Chain
from pellucid.errors import PellucidError, RecipeError, unknown_name
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import DECODERS, ENCODERS
from pellucid.nn.graph import GraphDecoder, GraphEncoder
from pellucid.nn.head import Head, head_reach
from pellucid.nn.permuters import PERMUTERS, Permuter
from pellucid.nn.postfilter import Postfilter
from pellucid.objectives import ADVERSARIAL, FEATURES, TERMS
from pellucid.objectives.balancer import Balancer
from pellucid.objectives.objective import Objective, Weighted
from pellucid.objectives.term import Term
from pellucid.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What the other components need to know of the data, read from the recipe alone.

    Args:
        channels: image or audio channels.
        size: side of a training crop in pixels, or its length in samples; 1 where samples have no
            fixed size (windows of cells).
        value_range: the range the model works in; None where values have none (stacks).
        axes: position axes: 2 for images, 1 for waveforms.
        sample_rate: in hertz, or None for images.
    """

    channels: int
    size: int
    value_range: ValueRange | None
    axes: int = 2
    sample_rate: int | None = None


def data_facts(recipe: Recipe) -> DataFacts:
    """Read channels, size and value range from the recipe without opening the data.

    Raises:
        RecipeError: when the data section is wrong.
    """
    node = {key: value for key, value in recipe.data.items() if key != "kind"}
    component = _component(recipe.data, DATA, "data")
    given: dict[str, Any] = {"seed": recipe.seed}
    if component in NORMALISED:
        given["normaliser"] = build_normaliser(node.pop("normalise", None))
    keywords = check_keywords(component, node, where="data", given=given)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(component).parameters.items()
    }
    merged = {**defaults, **keywords}
    if component in NORMALISED:
        if merged["channels"] is None:
            raise RecipeError(
                "the channels of these stacks are not known yet",
                where="data.channels",
                expected="a list of names, as the recipe of a run has, or open data",
            )
        return DataFacts(len(merged["channels"]), merged.get("size", 1), None)
    value_range = ValueRange(*merged["value_range"])
    if component is AudioData:
        rate = merged["sample_rate"]
        return DataFacts(1, merged["length"], value_range, axes=1, sample_rate=rate)
    return DataFacts(merged["channels"], merged["size"], value_range)


def build_data(
    recipe: Recipe,
    *,
    splits: Mapping[str, Any] | None = None,
    normaliser: Chain | None = None,
) -> ImageData | AudioData | StackData | CellData:
    """Open the data of a recipe.

    Args:
        recipe: the recipe.
        splits: the splits an earlier run wrote; they are reused instead of drawn again.
        normaliser: what an earlier run fitted; stacks are normalised by it instead of anew.

    Raises:
        RecipeError: when the data section is wrong.
        DataError: when the source cannot be used.
    """
    given: dict[str, Any] = {"seed": recipe.seed, "splits": splits}
    node = dict(recipe.data)
    if reads_stacks(recipe):
        steps = node.pop("normalise", None)
        given["normaliser"] = build_normaliser(steps) if normaliser is None else normaliser
    return construct("kind of data", DATA, node, where="data", given=given)


def build_autoencoder(recipe: Recipe, *, pretrained: bool = True) -> Autoencoder:
    """Build the parts of a model, with weights drawn from the recipe's seed.

    Args:
        recipe: the recipe.
        pretrained: whether an encoder reads the pretrained weights that the recipe names; False
            where a run's own weights replace them anyway, which need no other file then.

    Raises:
        RecipeError: for a wrong component, or a head that cannot reach the data's range.
    """
    facts = data_facts(recipe)
    postfilter = _postfilter(recipe, facts)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if is_cells(recipe):
            return assemble_cells(recipe, facts.channels)
        encoder: Any = construct(
            "encoder",
            ENCODERS,
            recipe.encoder if pretrained else _from_scratch(recipe.encoder),
            where="encoder",
            given=_facts_for(_component(recipe.encoder, ENCODERS, "encoder"), facts),
        )
        bottleneck = construct(
            "bottleneck",
            BOTTLENECKS,
            recipe.bottleneck,
            where="bottleneck",
            given={"channels": encoder.channels},
        )
        decoder: Any = construct(
            "decoder",
            DECODERS,
            recipe.decoder,
            where="decoder",
            given={"in_channels": bottleneck.out_channels, "out_channels": facts.channels},
        )
        permuter = _permuter(recipe, facts)
    _check_axes(recipe, facts, encoder, decoder)
    _check_graph(facts, encoder, decoder)
    _check_head(decoder.head, facts.value_range)
    if facts.size % encoder.stride:
        lower = facts.size // encoder.stride * encoder.stride
        raise RecipeError(
            "the crop size does not fit the encoder",
            where="data.size" if facts.axes == 2 else "data.length",
            expected=f"a multiple of {encoder.stride}, e.g. {max(lower, encoder.stride)}",
            found=facts.size,
        )
    return Autoencoder(encoder, bottleneck, decoder, permuter, postfilter)


def _facts_for(encoder: Any, facts: DataFacts) -> dict[str, Any]:
    """Return what the data decide: the channels, and the value range where it is asked for."""
    given: dict[str, Any] = {"in_channels": facts.channels}
    if "value_range" in inspect.signature(encoder).parameters:
        if facts.value_range is None:
            raise RecipeError(
                "this encoder was trained on pictures, and stacks have no value range",
                where="encoder.kind",
                expected="an encoder for stacks, e.g. residual",
            )
        given["value_range"] = (facts.value_range.low, facts.value_range.high)
    return given


def _from_scratch(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: False if key == "pretrained" else value for key, value in node.items()}


def build_objective(recipe: Recipe) -> Objective:
    """Build the weighted sum of terms, and its balancer where the recipe has one.

    Raises:
        RecipeError: for an unknown term, a missing or wrong weight.
    """
    facts = data_facts(recipe)
    terms: dict[str, Weighted] = {}
    for name, node in recipe.objective.items():
        where = f"objective.{name}"
        if name not in TERMS:
            raise unknown_name("term", name, TERMS, where="objective")
        if "weight" not in node:
            raise RecipeError(f"'{where}' has no weight", expected="weight: a number ≥ 0")
        given = {"term": None}
        weight = check_keywords(Weighted, {"weight": node["weight"]}, where=where, given=given)
        rest = {key: value for key, value in node.items() if key != "weight"}
        terms[name] = Weighted(_term(name, rest, facts), **weight)
    return Objective(terms, facts.value_range, _balancer(recipe))


def _balancer(recipe: Recipe) -> Balancer | None:
    if recipe.balancer is None:
        return None
    names = [*recipe.objective, *([] if recipe.adversary is None else (ADVERSARIAL, FEATURES))]
    return call(Balancer, recipe.balancer, where="balancer", given={"names": names})


def _term(name: str, node: Mapping[str, Any], facts: DataFacts) -> Term:
    """Build one term; terms of waveforms are given the sample rate."""
    where = f"objective.{name}"
    given: dict[str, Any] = {}
    if "sample_rate" in inspect.signature(TERMS[name]).parameters:
        if facts.sample_rate is None:
            raise RecipeError(f"'{name}' is a term for waveforms", where=where, found="images")
        given["sample_rate"] = facts.sample_rate
    return call(TERMS[name], node, where=where, given=given)


def squared_error_kl_weight(recipe: Recipe) -> float | None:
    """Return w, the multiplier of ΣKL beside a mean-reduced squared error, or None.

    It exists when the bottleneck is Gaussian and squared error is the only weighted term.
    """
    if recipe.bottleneck.get("kind") != "gaussian":
        return None
    weighted = {name: node.get("weight", 0) for name, node in recipe.objective.items()}
    weighted = {name: weight for name, weight in weighted.items() if weight}
    if set(weighted) != {"l2"}:
        return None
    default = inspect.signature(BOTTLENECKS["gaussian"]).parameters["weight"].default
    return float(recipe.bottleneck.get("weight", default)) / float(weighted["l2"])


def _component(node: Mapping[str, Any], table: Mapping[str, Any], where: str) -> Any:
    kind = str(node.get("kind"))
    if kind not in table:
        raise unknown_name(f"kind of {where}", kind, table, where=f"{where}.kind")
    return table[kind]


def _check_axes(recipe: Recipe, facts: DataFacts, *networks: Any) -> None:
    """Refuse a network for images where the data are waveforms, and the reverse."""
    wrong = next((network for network in networks if network.axes != facts.axes), None)
    if wrong is not None:
        kinds = {1: "waveforms", 2: "images"}
        raise RecipeError(
            f"{type(wrong).__name__} is a network for {kinds[wrong.axes]}",
            where="encoder.kind, decoder.kind",
            expected=f"networks for {kinds[facts.axes]}, because data.kind is "
            f"{recipe.data.get('kind')}",
        )


def _permuter(recipe: Recipe, facts: DataFacts) -> Permuter | None:
    """Build the permuter and let it arrange one crop: one that does not fit must not wait."""
    if recipe.permuter is None:
        return None
    component = _component(recipe.permuter, PERMUTERS, "permuter")
    takes = inspect.signature(component).parameters
    given = {"channels": facts.channels} if "channels" in takes else {}
    permuter = construct("permuter", PERMUTERS, recipe.permuter, where="permuter", given=given)
    if facts.axes != 2:
        raise RecipeError("a permuter moves patches of images and stacks", where="permuter")
    try:
        permuter.eval()(torch.zeros(1, facts.channels, facts.size, facts.size))
    except PellucidError as error:
        raise RecipeError(
            "the permuter's grid does not fit the crops", where="permuter.side", found=error
        ) from error
    return permuter.train()


def _postfilter(recipe: Recipe, facts: DataFacts) -> Postfilter | None:
    """Build the filter that a finished run has behind its decoder; it changes nothing as built."""
    if recipe.postfilter is None:
        return None
    if facts.axes != 2 or facts.value_range is None:
        raise RecipeError(
            "a postfilter is for pictures",
            where="postfilter",
            expected="data.kind: images",
            found=f"data.kind: {recipe.data.get('kind')}",
        )
    return call(
        Postfilter, recipe.postfilter, where="postfilter", given={"channels": facts.channels}
    )


def _check_graph(facts: DataFacts, encoder: Any, decoder: Any) -> None:
    """Refuse graph networks that do not speak of the same nodes."""
    if isinstance(encoder, GraphEncoder) and isinstance(decoder, GraphDecoder):
        for name in ("tokens", "per_node"):
            read, written = getattr(encoder, name), getattr(decoder, name)
            if read != written:
                raise RecipeError(
                    f"encoder and decoder count different {name}",
                    where=f"encoder.{name}, decoder.{name}",
                    expected="equal",
                    found=f"{read} and {written}",
                )
    if isinstance(decoder, GraphDecoder) and decoder.side * decoder.stride != facts.size:
        raise RecipeError(
            "the decoder draws tiles of another size",
            where="decoder.side, decoder.patch",
            expected=f"side · patch = {facts.size}, the crop's",
            found=f"{decoder.side} · {decoder.stride} = {decoder.side * decoder.stride}",
        )


def _check_head(head: Head, value_range: ValueRange | None) -> None:
    low, high = head_reach(head)
    if value_range is None:
        if head != "none":
            raise RecipeError(
                f"the head '{head}' bounds values that have no bounds",
                where="decoder.head",
                expected="none: normalised stacks reach beyond any fixed range",
            )
        return
    if low > value_range.low or high < value_range.high:
        raise RecipeError(
            f"the head '{head}' cannot reach every value of the data",
            where="decoder.head",
            expected=f"a head that covers [{value_range.low:g}, {value_range.high:g}]",
            found=f"({low:g}, {high:g})",
            hint="use 'none', or change data.value_range",
        )
