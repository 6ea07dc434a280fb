"""The rules of the fallback ladder: what may answer the rows that the route's version fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.mesh.selectors import is_range
from services.registry.asking import differing
from services.registry.binding import Views, keys_of
from services.registry.definitions import Endpoint, Fallback, Model, TensorSpec, Version
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.routes import answering, check_selector, resolve
from services.registry.rows import check_row, completed_row

MAX_STEPS = 8
# A second to a week.
LAST_ANSWER_MS = (1_000, 7 * 86_400_000)


def standing_in(endpoint: Endpoint, model: Model) -> tuple[Version, ...]:
    """The versions of the ladder, without those that are not there."""
    found = (resolve(step.version, model) for step in endpoint.fallbacks if step.version)
    return tuple({version.version: version for version in found if version}.values())


def completed_ladder(endpoint: Endpoint, model: Model | None) -> Endpoint:
    """The endpoint with its static answer in the types and shapes of what answers; as it is if they do not fit."""
    versions = answering(endpoint.route, model) if model else ()
    if not versions:
        return endpoint
    steps = tuple(_completed(step, versions[0]) for step in endpoint.fallbacks)
    return replace(endpoint, fallbacks=steps)


def _completed(step: Fallback, version: Version) -> Fallback:
    if step.answer is None:
        return step
    outputs = completed_row(step.answer.outputs, version.signature.outputs)
    return replace(step, answer=replace(step.answer, outputs=outputs))


def check_fallbacks(
    endpoint: Endpoint, versions: Sequence[Version], model: Model, views: Views, path: str, faults: Faults
) -> None:
    """Each step answers what callers ask any of `versions`, those of the route, as these would."""
    if len(endpoint.fallbacks) > MAX_STEPS:
        faults.add(InvalidDefinition, path, f"a ladder has at most {MAX_STEPS} steps")
    for index, step in enumerate(endpoint.fallbacks):
        at = f"{path}[{index}]"
        if bool(step.version) + bool(step.last_answer_max_age_ms) + (step.answer is not None) != 1:
            faults.add(InvalidDefinition, at, "a step is a version, the last answer, or a static answer")
        elif step.version:
            _check_version(step.version, versions, model, views, f"{at}.version", faults)
        elif step.answer is None:
            _check_last_answer(step, versions, views, f"{at}.last_answer_max_age_ms", faults)
        else:
            _check_answer(step, versions, f"{at}.answer", faults)
            if index < len(endpoint.fallbacks) - 1:
                why = "a static answer cannot fail, so that no step after it is ever taken: put it last"
                faults.add(InvalidDefinition, f"{at}.answer", why)


def _check_version(
    selector: str, versions: Sequence[Version], model: Model, views: Views, path: str, faults: Faults
) -> None:
    step = resolve(selector, model)
    if step is None:
        # A range may have been left without a version, and leads nowhere until there is one again.
        if not is_range(selector):
            check_selector(selector, model, path, faults)
        return
    for version in versions:
        asked = ", ".join(differing(version, step, views))
        others = ([f"takes another {asked}"] if asked else []) + _other_outputs(version, step)
        if others:
            why = f"{step.version} cannot stand in for {version.version}: it {', '.join(others)}"
            faults.add(InvalidDefinition, path, why)


def _other_outputs(version: Version, step: Version) -> list[str]:
    """In which outputs the two differ; their order says nothing, as they have names.

    Nor does whether they are finite, which the gateway sees to row by row.
    """
    wanted = {spec.name: spec for spec in version.signature.outputs}
    given = {spec.name: spec for spec in step.signature.outputs}
    lacks = [f"has no output {name}" for name in wanted if name not in given]
    more = [f"has an output {name} besides" for name in given if name not in wanted]
    forms = [(name, _form(given[name]), _form(wanted[name])) for name in wanted if name in given]
    return lacks + more + [f"answers {name} as {form}, not {other}" for name, form, other in forms if form != other]


def _form(spec: TensorSpec) -> str:
    return f"{spec.data_type} {list(spec.shape)}"


def _check_last_answer(step: Fallback, versions: Sequence[Version], views: Views, path: str, faults: Faults) -> None:
    least, most = LAST_ANSWER_MS
    if not least <= step.last_answer_max_age_ms <= most:
        faults.add(InvalidDefinition, path, f"{least} (a second) to {most} (a week)")
    for version in versions:
        if not keys_of(version, views):
            why = f"{version.version} is asked without entity keys, by which last answers are found again"
            faults.add(InvalidDefinition, path, why)


def _check_answer(step: Fallback, versions: Sequence[Version], path: str, faults: Faults) -> None:
    assert step.answer is not None
    for version in versions:
        broken = Faults()
        check_row(step.answer.outputs, version.signature.outputs, f"{path}.outputs", broken)
        if broken:
            faults.extend(broken)
            # The others would only say the same again.
            return


def check_fallbacks_act(endpoint: Endpoint, models: Mapping[str, Model], path: str, faults: Faults) -> None:
    """No step is in vain: each leads to another version, and none stands twice. What they name may lead elsewhere later."""
    model = models.get(endpoint.model)
    if model is None:
        return
    seen: dict[str, str] = {}
    routed = answering(endpoint.route, model)
    for index, step in enumerate(endpoint.fallbacks):
        if step.version:
            _check_leads(step.version, routed, seen, model, f"{path}[{index}].version", faults)
    ages = [index for index, step in enumerate(endpoint.fallbacks) if step.last_answer_max_age_ms]
    for index in ages[1:]:
        why = "the last answer is a step already: with the longer of the two ages it does for both"
        faults.add(InvalidDefinition, f"{path}[{index}].last_answer_max_age_ms", why)


def _check_leads(
    selector: str, routed: Sequence[Version], seen: dict[str, str], model: Model, path: str, faults: Faults
) -> None:
    version = resolve(selector, model)
    if version is None:
        if is_range(selector) and check_selector(selector, model, path, faults):
            why = f"no version in {selector} has been released, so that it would lead nowhere: name a version"
            faults.add(InvalidDefinition, path, why)
    elif version.version in seen:
        both = f"{selector} and {seen[version.version]} are both {version.version}"
        why = f"{selector} is a step already" if selector == seen[version.version] else f"{both}: one step is enough"
        faults.add(InvalidDefinition, path, why)
    elif tuple(routed) == (version,):
        faults.add(InvalidDefinition, path, f"{version.version} answers already: a fallback is another version")
    if version:
        seen.setdefault(version.version, selector)
