"""Rooms and rounds as services, on both databases."""

import asyncio
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from support import rows

from app.db import Database
from app.errors import AppError, Conflict, Invalid, NotFound
from app.services import exposures, offers, room_votes, rooms, rounds
from app.services.room_votes import Ballot, MyVotes, Tap
from app.services.rounds import RoundOptions
from app.student_views import Browser, Stage, look_and_draw
from app.tables import (
    Checkpoint,
    Choice,
    Exposure,
    Generation,
    HumanAnswer,
    KeyKind,
    Participant,
    Phase,
    Prompt,
    Reason,
    Role,
    Room,
    Round,
    Target,
    VoteEvent,
    VoteKind,
    current_vote,
    now,
)
from app.views import Works

UP = Ballot(kind=VoteKind.THUMB, target=Target.LEFT, value=1)
DOWN = Ballot(kind=VoteKind.THUMB, target=Target.LEFT, value=-1)


def new_room(session: Session) -> Room:
    return rooms.create(session)[0]


def cast(session: Session, room: Room, cookie: str, ballot: Ballot, key: str) -> MyVotes:
    """One tap, as a phone sends it."""
    session.flush()
    (mine,) = room_votes.cast_all(session, room.code, [Tap(cookie=cookie, ballot=ballot, key=key)])
    if isinstance(mine, AppError):
        raise mine
    return mine


def say(session: Session, room: Room, cookie: str, text: str) -> None:
    session.flush()
    (error,) = room_votes.answer_all(session, room.code, [(cookie, text)])
    if error is not None:
        raise error


def start(session: Session, room: Room, **options: object) -> Round:
    first = rooms.prompts(session, room)[0]
    return rounds.start(session, room, room.version, first.id, RoundOptions(**options))  # type: ignore[arg-type]


def write_answers(session: Session, round_: Round) -> None:
    """As the models would, and long enough ago to be in view."""
    ids = []
    for role in Role:
        checkpoint = Checkpoint(
            role=role,
            name=role,
            sha256=f"{role} {round_.id}",
            n_parameters=1,
            tokens_seen=1,
            recipe={},
        )
        session.add(checkpoint)
        session.flush()
        generation = Generation(
            prompt_id=round_.prompt_id,
            checkpoint_id=checkpoint.id,
            envelope="raw",
            prompt_ids=[1],
            seed=1,
            temperature=1,
            top_k=0,
            top_p=1,
            max_tokens=8,
            code_version="test",
            text=f"texto de {role}",
            finish_reason="stop",
        )
        session.add(generation)
        session.flush()
        ids.append(generation.id)
    round_.base_id, round_.tuned_id = ids
    round_.released_at = now() - timedelta(minutes=1)
    session.flush()


def go(session: Session, room: Room, *phases: Phase) -> None:
    for phase in phases:
        rounds.advance(session, room, room.version, phase)


def voting_room(session: Session, **options: object) -> Room:
    room = new_room(session)
    write_answers(session, start(session, room, asks_people=False, **options))
    go(session, room, Phase.VOTING)
    return room


@pytest.mark.parametrize(
    ("phase", "options", "expected"),
    [
        (Phase.LOBBY, {}, ()),
        (Phase.HUMAN, {}, (Phase.ANSWERS, Phase.LOBBY)),
        (Phase.ANSWERS, {"are_shown": False}, (Phase.LOBBY,)),
        (Phase.ANSWERS, {}, (Phase.VOTING, Phase.LOBBY)),
        (Phase.VOTING, {}, (Phase.CLOSED,)),
        (Phase.VOTING, {"is_blind": False}, (Phase.REVEAL,)),
        (Phase.CLOSED, {}, (Phase.REVEAL,)),
        (Phase.REVEAL, {}, (Phase.LOBBY,)),
        (Phase.REVEAL, {"has_second_vote": True}, (Phase.SECOND_VOTE, Phase.LOBBY)),
        (Phase.REVEAL, {"has_second_vote": True, "vote_round": 2}, (Phase.LOBBY,)),
        (Phase.SECOND_VOTE, {"has_second_vote": True, "vote_round": 2}, (Phase.REVEAL,)),
    ],
)
def test_only_valid_steps_follow(
    phase: Phase, options: dict[str, object], expected: tuple[Phase, ...]
) -> None:
    defaults = {"is_blind": True, "has_second_vote": False, "vote_round": 1, "are_shown": True}
    assert rounds.next_phases(phase, **(defaults | options)) == expected  # type: ignore[arg-type]


def test_every_phase_leads_back_to_the_lobby() -> None:
    for blind, second in itertools.product((True, False), repeat=2):
        phase, vote_round, path = Phase.HUMAN, 1, []
        while phase != Phase.LOBBY:
            path.append(phase)
            phase = rounds.next_phases(
                phase,
                is_blind=blind,
                has_second_vote=second,
                vote_round=vote_round,
                are_shown=True,
            )[0]
            vote_round = 2 if phase == Phase.SECOND_VOTE else vote_round
            assert len(path) < 10
        assert (Phase.CLOSED in path) == blind
        assert path.count(Phase.REVEAL) == (2 if second else 1)


def test_a_new_room_has_the_deck_and_two_keys_that_open_different_doors(db: Database) -> None:
    def work(session: Session) -> None:
        room, tokens = rooms.create(session)
        assert re.fullmatch(f"[{rooms.ALPHABET}]{{6}}", room.code)
        assert len(rooms.prompts(session, room)) == 5
        assert rooms.by_key(session, KeyKind.HOST, tokens.host) is room
        assert rooms.by_key(session, KeyKind.PROJECTOR, tokens.projector) is room
        for kind, token in (
            (KeyKind.HOST, tokens.projector),
            (KeyKind.PROJECTOR, tokens.host),
            (KeyKind.HOST, "guess"),
        ):
            with pytest.raises(NotFound):
                rooms.by_key(session, kind, token)
        again = rooms.mint_keys(session, room)
        session.flush()
        assert rooms.by_key(session, KeyKind.HOST, again.host) is room
        assert rooms.by_key(session, KeyKind.HOST, tokens.host) is room

    db.write_now(work)


def test_a_code_is_found_as_people_type_it(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        for typed in (room.code.lower(), f" {room.code[:3]}-{room.code[3:]} ", f"#{room.code}."):
            assert rooms.by_code(session, typed) is room
        for wrong in ("", "AAAAAA", "💥", "'; --", "x" * 5000):
            with pytest.raises(NotFound):
                rooms.by_code(session, wrong)

    db.write_now(work)


def test_joining_again_is_the_same_person_and_no_pseudonym_comes_twice(db: Database) -> None:
    def work(session: Session) -> None:
        room, other = new_room(session), new_room(session)
        people = [rooms.join(session, room, f"cookie {i}") for i in range(40)]
        assert len({p.pseudonym for p in people}) == 40
        assert rooms.join(session, room, "cookie 3").id == people[3].id
        assert rooms.count_present(session, room) == 40
        elsewhere = rooms.join(session, other, "cookie 3")
        assert elsewhere.id != people[3].id
        assert elsewhere.token_hash != people[3].token_hash
        with pytest.raises(NotFound):
            rooms.active_member(session, room, "somebody else's")
        with pytest.raises(NotFound):
            rooms.rename(session, other, people[0].id, "Nome")

    db.write_now(work)


def test_who_is_removed_is_out_until_let_in_again(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session)
        member = rooms.join(session, room, "a")
        cast(session, room, "a", UP, "k")
        round_ = rounds.current(session, room)
        assert round_
        assert room_votes.count_voters(session, round_, 1) == 1
        rooms.set_removed(session, room, member.id, True)
        session.flush()
        assert room_votes.count_voters(session, round_, 1) == 0
        assert rooms.count_present(session, room) == 0
        with pytest.raises(Conflict):
            rooms.active_member(session, room, "a")
        rooms.set_removed(session, room, member.id, False)
        session.flush()
        assert rooms.active_member(session, room, "a") is member
        assert room_votes.count_voters(session, round_, 1) == 1

    db.write_now(work)


def test_an_old_version_moves_nothing(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        old = room.version
        start(session, room)
        with pytest.raises(Conflict):
            rounds.advance(session, room, old, Phase.ANSWERS)
        with pytest.raises(Conflict):
            rounds.advance(session, room, room.version, Phase.CLOSED)
        with pytest.raises(Conflict):
            start(session, room)
        assert room.phase == Phase.HUMAN

    db.write_now(work)


def test_votes_open_only_when_both_answers_are_in_view(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        round_ = start(session, room, asks_people=False)
        with pytest.raises(Conflict):
            go(session, room, Phase.VOTING)
        write_answers(session, round_)
        round_.released_at = now()
        with pytest.raises(Conflict):
            go(session, room, Phase.VOTING)
        assert rounds.released_share(round_, now() + timedelta(seconds=2)) == pytest.approx(
            0.5, abs=0.05
        )

    db.write_now(work)


def test_a_text_comes_into_view_word_by_word() -> None:
    text = "Uma maçã e um martelo."
    seen = [rounds.released_text(text, i / 20) for i in range(21)]
    assert seen[0] == ""
    assert seen[-1] == text
    assert all(text.startswith(part) for part in seen)
    assert all(part == text or text[len(part)] in " U" for part in seen)
    assert [len(part) for part in seen] == sorted(len(part) for part in seen)


def test_half_of_the_room_sees_each_on_the_left(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session)
        round_ = rounds.current(session, room)
        assert round_
        drawn: list[int | None] = []
        for i in range(21):
            member = rooms.join(session, room, str(i))
            shown = exposures.draw(session, round_, [member])[member.id]
            assert exposures.draw(session, round_, [member])[member.id].id == shown.id
            assert {shown.left_id, shown.right_id} == {round_.base_id, round_.tuned_id}
            drawn.append(shown.left_id)
            n_base_left = drawn.count(round_.base_id)
            assert abs(2 * n_base_left - len(drawn)) <= 1
        assert len(rows_of(session, Exposure)) == 21

    db.write_now(work)


def rows_of(session: Session, table: type) -> list[object]:
    return list(session.query(table))


def test_a_tap_sent_twice_is_one_and_a_change_of_mind_is_kept(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session)
        rooms.join(session, room, "a")
        for _ in range(3):
            assert cast(session, room, "a", UP, "k1").thumbs == {Target.LEFT: 1}
        assert len(rows_of(session, VoteEvent)) == 1
        why = Ballot(
            kind=VoteKind.REASONS, target=Target.LEFT, reasons=(Reason.DIRECT, Reason.CORRECT)
        )
        assert cast(session, room, "a", why, "k2").reasons == {Target.LEFT: ["direct", "correct"]}
        turned = cast(session, room, "a", DOWN, "k3")
        assert turned.thumbs == {Target.LEFT: -1}
        assert turned.reasons == {}  # said of the other thumb
        gone = Ballot(kind=VoteKind.THUMB, target=Target.LEFT)
        assert cast(session, room, "a", gone, "k4").thumbs == {}
        pair = Ballot(kind=VoteKind.PREFERENCE, target=Target.PAIR, choice=Choice.BOTH_BAD)
        guess = Ballot(kind=VoteKind.GUESS, target=Target.PAIR, choice=Choice.RIGHT)
        cast(session, room, "a", pair, "k5")
        mine = cast(session, room, "a", guess, "k6")
        assert (mine.preference, mine.guess) == (Choice.BOTH_BAD, Choice.RIGHT)
        assert len(rows_of(session, VoteEvent)) == 7

    db.write_now(work)


def test_votes_that_come_at_once_are_one_transaction_and_one_piece_of_news(db: Database) -> None:
    def prepare(session: Session) -> str:
        room = voting_room(session)
        for i in range(9):
            rooms.join(session, room, f"cookie {i}")
        code: str = room.code
        return code

    async def run() -> None:
        code = db.write_now(prepare)
        taps = [Tap(cookie=f"cookie {i}", ballot=UP, key="k") for i in range(9)]
        results = await asyncio.gather(
            *(db.write_together(room_votes.cast_all, code, tap) for tap in [*taps, taps[0]]),
            db.write_together(room_votes.cast_all, code, Tap(cookie="x", ballot=UP, key="k")),
            return_exceptions=True,
        )
        assert all(isinstance(r, MyVotes) and r.thumbs == {Target.LEFT: 1} for r in results[:10])
        assert isinstance(results[10], NotFound)
        assert len(rows(db, VoteEvent)) == 9
        assert sum(db.hub._versions.values()) == 1
        seen = dict(db.hub._versions)
        with pytest.raises(NotFound):
            await db.write_together(room_votes.cast_all, "ZZZ999", taps[0])
        assert db.hub._versions == seen

    asyncio.run(run())


def test_taps_of_one_batch_are_each_judged_alone_and_in_their_order(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session)
        for cookie in ("ana", "bia", "out"):
            rooms.join(session, room, cookie)
        rooms.set_removed(session, room, rooms.members(session, room, ["out"])["out"].id, True)
        session.flush()
        why = Ballot(kind=VoteKind.REASONS, target=Target.LEFT, reasons=(Reason.DIRECT,))
        taps = [
            Tap(cookie="ana", ballot=UP, key="1"),
            Tap(cookie="out", ballot=UP, key="1"),
            Tap(cookie="ana", ballot=why, key="2"),
            Tap(cookie=None, ballot=UP, key="1"),
            Tap(cookie="bia", ballot=DOWN, key="1"),
            Tap(cookie="ana", ballot=DOWN, key="3"),  # takes the reasons with it
            Tap(cookie="ana", ballot=why, key="4"),
            Tap(cookie="ana", ballot=UP, key="1"),  # the first again: it turns nothing back
        ]
        results = room_votes.cast_all(session, room.code, taps)
        expected = [MyVotes, Conflict, MyVotes, NotFound, MyVotes, MyVotes, MyVotes, MyVotes]
        assert [type(result) for result in results] == expected
        assert results[-1] == MyVotes(
            thumbs={Target.LEFT: -1}, reasons={Target.LEFT: [Reason.DIRECT]}
        )
        events = session.query(VoteEvent).order_by(VoteEvent.id).all()
        assert [e.kind for e in events if e.exposure_id == events[0].exposure_id] == [
            *("thumb", "reasons", "thumb", "reasons", "reasons")
        ]
        query = select(current_vote.c.kind, current_vote.c.value, current_vote.c.reasons)
        hers = query.where(current_vote.c.exposure_id == events[0].exposure_id)
        counted = sorted(tuple(row) for row in session.execute(hers))
        assert counted == [("reasons", None, ["direct"]), ("thumb", -1, None)]
        again = room_votes.cast_all(session, room.code, taps[:1])
        assert again == [results[-1]]
        room.phase = Phase.CLOSED
        session.flush()
        late = room_votes.cast_all(session, room.code, [taps[0], taps[4]])
        assert all(isinstance(result, AppError) for result in late)
        assert session.query(VoteEvent).count() == 6

    db.write_now(work)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": VoteKind.THUMB, "target": Target.PAIR, "value": 1},
        {"kind": VoteKind.PREFERENCE, "target": Target.LEFT, "choice": Choice.TIE},
        {"kind": VoteKind.GUESS, "target": Target.PAIR, "choice": Choice.TIE},
        {"kind": VoteKind.REASONS, "target": Target.PAIR},
    ],
)
def test_a_vote_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        Ballot(**wrong)  # type: ignore[arg-type]


def test_nothing_counts_after_closing(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session)
        rooms.join(session, room, "a")
        cast(session, room, "a", UP, "k")
        go(session, room, Phase.CLOSED)
        for ballot in (DOWN, Ballot(kind=VoteKind.THUMB, target=Target.LEFT)):
            with pytest.raises(Conflict):
                cast(session, room, "a", ballot, "late")
        go(session, room, Phase.REVEAL)
        with pytest.raises(Conflict):
            cast(session, room, "a", DOWN, "later")
        with pytest.raises(Conflict):
            say(session, room, "a", "42")
        assert len(rows_of(session, VoteEvent)) == 1

    db.write_now(work)


def test_the_second_vote_stands_beside_the_first(db: Database) -> None:
    def work(session: Session) -> None:
        room = voting_room(session, has_second_vote=True)
        member = rooms.join(session, room, "a")
        cast(session, room, "a", UP, "k")
        go(session, room, Phase.CLOSED, Phase.REVEAL, Phase.SECOND_VOTE)
        assert cast(session, room, "a", DOWN, "k").thumbs == {Target.LEFT: -1}
        round_ = rounds.current(session, room)
        assert round_
        shown = exposures.shown(session, round_, [member])[member.id]
        assert room_votes.votes_on(session, [shown.id])[shown.id, 1].thumbs == {Target.LEFT: 1}
        first, second = session.query(VoteEvent).order_by(VoteEvent.id)
        assert (first.is_after_reveal, second.is_after_reveal) == (False, True)

    db.write_now(work)


def test_an_answer_of_ones_own_can_be_replaced_and_is_counted_once(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        round_ = start(session, room)
        member = rooms.join(session, room, "a")
        for text in ("37", "  42 "):
            say(session, room, "a", text)
        assert room_votes.count_answers(session, round_) == 1
        assert room_votes.answers_of(session, round_, [member]) == {member.id: "42"}
        for bad in ("", "x" * 10_000, "a\x00b"):
            with pytest.raises(Invalid):
                say(session, room, "a", bad)

    db.write_now(work)


def test_answers_of_one_batch_are_each_judged_alone_and_the_last_one_stays(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        round_ = start(session, room)
        ana, bia = (rooms.join(session, room, cookie) for cookie in ("ana", "bia"))
        said = [("ana", "1"), (None, "2"), ("bia", "3"), ("bia", " "), ("ana", "4"), ("bia", "5")]
        refused = room_votes.answer_all(session, room.code, said)
        assert [type(error) for error in refused if error] == [NotFound, Invalid]
        assert refused[1]
        assert refused[3]
        answers = room_votes.answers_of(session, round_, [ana, bia])
        assert answers == {ana.id: "4", bia.id: "5"}
        go(session, room, Phase.ANSWERS)
        late = room_votes.answer_all(session, room.code, said[:1])
        assert [type(error) for error in late] == [Conflict]
        assert len(rows_of(session, HumanAnswer)) == 2

    db.write_now(work)


def test_whoever_asked_for_more_time_has_it(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        round_ = start(session, room, countdown_s=30)
        _quick, slow = (rooms.join(session, room, c) for c in "ab")
        slow.has_more_time = True
        room.phase_ends_at = now() - timedelta(seconds=10)
        session.flush()
        with pytest.raises(Conflict, match="tempo acabou"):
            say(session, room, "a", "7")
        say(session, room, "b", "7")
        room.phase_ends_at = now() - timedelta(seconds=40)
        session.flush()
        with pytest.raises(Conflict, match="tempo acabou"):
            say(session, room, "b", "8")
        assert room_votes.count_answers(session, round_) == 1

    db.write_now(work)


def test_a_prompt_that_was_never_offered_stays_with_its_student(db: Database) -> None:
    def work(session: Session) -> None:
        room = new_room(session)
        member = rooms.join(session, room, "a")
        own = Prompt(room_id=room.id, participant_id=member.id, text="meu", is_from_deck=False)
        session.add(own)
        session.flush()
        assert offers.offered(session, room) == []  # nor does the host see it
        with pytest.raises(NotFound):
            offers.set_approved(session, room, own.id, True)
        with pytest.raises(Conflict):
            offers.show(session, room, own.id)
        with pytest.raises(Conflict):
            rounds.start(session, room, room.version, own.id, RoundOptions())

    db.write_now(work)


def in_threads(n: int, work: Callable[[int], object]) -> list[object]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(n)))


def test_many_at_once_join_and_are_shown_and_vote_each_once(db: Database) -> None:
    room = db.write_now(voting_room)

    def join(i: int) -> None:
        db.write_now(lambda s: rooms.join(s, s.get_one(Room, room.id), f"c{i // 2}"))

    def vote(i: int) -> None:
        db.write_now(lambda session: cast(session, room, f"c{i // 2}", UP, "k"))

    in_threads(60, join)
    people = rows(db, Participant)
    assert len(people) == 30
    assert len({p.pseudonym for p in people}) == 30
    in_threads(60, vote)
    shown = rows(db, Exposure)
    assert len(shown) == 30
    lefts = Counter(e.left_id for e in shown)
    assert len(lefts) == 2
    assert abs(lefts.most_common()[0][1] - 15) <= 1
    assert len(rows(db, VoteEvent)) == 30


def test_what_races_with_the_closing_counts_or_is_refused(db: Database) -> None:
    room = db.write_now(voting_room)

    def join(i: int) -> None:
        db.write_now(lambda s: rooms.join(s, s.get_one(Room, room.id), f"c{i}"))

    def vote_or_close(i: int) -> bool:
        def act(session: Session) -> None:
            if i == 20:
                go(session, session.get_one(Room, room.id), Phase.CLOSED)
            else:
                cast(session, room, f"c{i}", UP, "k")

        try:
            db.write_now(act)
        except Conflict:
            return False
        return i != 20

    in_threads(40, join)
    accepted = in_threads(40, vote_or_close).count(True)
    closed_at = rows(db, Round)[0].closed_at
    events = rows(db, VoteEvent)
    assert len(events) == accepted
    assert all(event.created_at <= closed_at for event in events)


def test_who_comes_while_the_vote_is_being_closed_is_given_no_side(db: Database) -> None:
    def prepare(session: Session) -> Room:
        room = voting_room(session)
        rooms.join(session, room, "late")
        return room

    room = db.write_now(prepare)
    late = Browser("late", Works(None, {}))  # type: ignore[arg-type]  # nobody is at work
    stages: list[Stage] = []

    def look() -> None:
        stages.extend(db.write_now(lambda session: look_and_draw(session, room.code, [late])))

    looking = threading.Thread(target=look)

    def close(session: Session) -> None:
        go(session, session.get_one(Room, room.id), Phase.CLOSED)
        looking.start()
        time.sleep(0.3)  # it waits for this transaction

    db.write_now(close)
    looking.join()
    assert [stage.phase for stage in stages] == [Phase.CLOSED]
    assert not rows(db, Exposure)
