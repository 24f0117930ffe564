"""Proving control of the names of an order (RFC 8555 §7.5).

For every name whose authorisation is still pending a challenge kind is chosen, its answer is put
in place, the CA is told, and its verdict awaited. Answers are taken away whatever the outcome.
What worked and what failed is remembered for the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio

from acme_client.challenges.answers import Answer, DnsAnswer, clean_up, make_answer
from acme_client.challenges.kinds import choose_kind
from acme_client.challenges.memory import ChallengeMemory
from acme_client.conversation import Conversation
from acme_client.documents import read_or_set_aside
from acme_client.errors import IssuerError, NoChallenge, Problem, ValidationFailed
from acme_client.issuer import IssuanceTask
from acme_client.resources import Authorization, Challenge
from acme_client.worker import on_disk


@dataclass(frozen=True, slots=True)
class Proof:
    """A pending authorisation, and the challenge chosen for it."""

    authorization: Authorization
    challenge: Challenge


async def validate(
    conversation: Conversation, task: IssuanceTask, authorizations: Sequence[Authorization]
) -> None:
    """Have all authorisations valid, or raise ValidationFailed, NoChallenge, NotPresented."""
    memory = await _load_memory(conversation, task)
    over = [item for item in authorizations if item.status not in ("pending", "valid")]
    if over:
        # A resumed order whose validation failed while nobody watched.
        await _conclude(conversation, task, memory, over)
    # RFC 8555 §7.5.1: a valid authorisation is used as it is.
    proofs = [
        Proof(item, _choose(item, task, memory))
        for item in authorizations
        if item.status != "valid"
    ]
    # In one order for everybody, so that two orders with the same names never wait for each other.
    proofs.sort(key=lambda proof: proof.authorization.name)
    answers = [_answer(conversation, task, proof) for proof in proofs]
    try:
        await _present(answers)
        for proof in proofs:
            if proof.challenge.status == "pending":
                await conversation.answer(proof.challenge)
        results = [await _verdict(conversation, proof.authorization) for proof in proofs]
    finally:
        for answer in answers:
            await clean_up(answer)
    await _conclude(conversation, task, memory, results)


def _choose(authorization: Authorization, task: IssuanceTask, memory: ChallengeMemory) -> Challenge:
    name = authorization.name
    offered = {challenge.kind: challenge for challenge in authorization.challenges}
    answered = [c for c in offered.values() if c.status == "processing"]
    if answered:
        return answered[0]  # a resumed order: the CA is at it
    known = memory.of(name)
    usable = task.request.challenge_kinds(name)
    kind = choose_kind(offered, usable, known.worked, known.failed)
    if kind is None:
        raise NoChallenge(
            f"{name}: the CA offers {', '.join(offered) or 'nothing'}, "
            f"and allowed and possible here is {', '.join(usable) or 'nothing'}",
            names=(name,),
        )
    return offered[kind]


def _answer(conversation: Conversation, task: IssuanceTask, proof: Proof) -> Answer:
    challenge = proof.challenge
    return make_answer(
        challenge.kind,
        proof.authorization.domain,
        challenge.token,
        conversation.authority.key_authorization(challenge.token),
        task.request.dns,
        conversation.environment,
    )


async def _present(answers: Sequence[Answer]) -> None:
    """Put all answers in place: DNS records first and together, because they take minutes."""
    failures: list[IssuerError] = []

    async def present(answer: Answer) -> None:
        try:
            await answer.present()
        except IssuerError as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for answer in answers:
            if isinstance(answer, DnsAnswer):
                group.start_soon(present, answer)
    if failures:
        raise failures[0]
    for answer in answers:
        if not isinstance(answer, DnsAnswer):
            await answer.present()


async def _verdict(conversation: Conversation, authorization: Authorization) -> Authorization:
    return await conversation.watch(
        lambda: conversation.authorization(authorization.url),
        lambda found: found.status == "pending",
        f"the authorisation of {authorization.name}",
    )


async def _conclude(
    conversation: Conversation,
    task: IssuanceTask,
    memory: ChallengeMemory,
    results: Sequence[Authorization],
) -> None:
    """Remember what worked and what did not; raise ValidationFailed for the latter."""
    problems: list[Problem] = []
    names = []
    for result in results:
        decided = next((c for c in result.challenges if c.status == result.status), None)
        if result.status == "valid":
            memory = memory.succeeded(result.name, decided.kind) if decided else memory
            continue
        names.append(result.name)
        kind = decided.kind if decided else "unknown challenge"
        memory = memory.failed(result.name, kind) if decided else memory
        problem = decided.problem if decided else None
        problem = problem or Problem(result.status, f"the authorisation is {result.status}")
        detail = f"{kind}: {problem.detail}"
        problems.append(replace(problem, identifier=result.name, detail=detail))
    await _save_memory(conversation, task, memory)
    if problems:
        raise ValidationFailed(
            f"validation failed: {'; '.join(map(str, problems))}",
            problems=tuple(problems),
            names=tuple(names),
        )


async def _load_memory(conversation: Conversation, task: IssuanceTask) -> ChallengeMemory:
    store, name = conversation.environment.store, _document_name(task)
    found = await on_disk(lambda: read_or_set_aside(store, name, ChallengeMemory.from_json))
    return found or ChallengeMemory()


async def _save_memory(
    conversation: Conversation, task: IssuanceTask, memory: ChallengeMemory
) -> None:
    # Names that are no longer asked for are forgotten here.
    names = {name: known for name, known in memory.names.items() if name in task.request.names}
    document = ChallengeMemory(names).to_json()
    store, name = conversation.environment.store, _document_name(task)
    await on_disk(lambda: store.save_document(name, document))


def _document_name(task: IssuanceTask) -> str:
    return f"challenge-memory/{task.request.id}"
