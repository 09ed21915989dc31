"""Numbers worked out by hand, on rows of both databases."""

import pytest
from classroom import Classroom
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.db import Database
from app.services.ballots import Verdict
from app.services.picture import Who
from app.services.results import Preferences, Share, wilson
from app.services.room_results import class_summary, room_results, round_results
from app.services.tallies import Change, Totals
from app.tables import AnswerKind, Author, Choice, Finish, Reason, Role, Side, now

L, R = Side.LEFT, Side.RIGHT


def test_thumbs_are_counted_by_checkpoint_not_by_side(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        for i, person in enumerate(room.people(12)):
            tuned = L if i % 2 else R
            exposure = room.show(round_, person, tuned)
            if i < 10:
                room.thumb(exposure, tuned, 1 if i < 7 else -1)
            if i < 4:
                room.thumb(exposure, L if tuned == R else R, -1)
        found = round_results(session, round_.id)
        assert (found.n_exposed, found.first.n_voted) == (12, 10)
        assert found.first.up == {Role.BASE: Share(0, 4), Role.TUNED: Share(7, 10)}
        assert found.first.up[Role.TUNED].shows_percent
        assert not found.first.up[Role.BASE].shows_percent
        assert found.first.up[Role.TUNED].interval == wilson(7, 10)
        assert found.first.totals == Totals(n_thumbs=14, n_up=7, n_decided=0, ties=0, both_bad=0)
        assert found.second is None
        assert found.shift is None
        assert (found.answers[Role.BASE].n_words, found.answers[Role.BASE].total_ms) == (10, 300.0)
        assert found.answers[Role.TUNED].n_tokens == 1

    db.write_now(work)


def test_only_the_last_tap_counts_and_who_was_removed_does_not(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        ana, bia, caio = room.people(3)
        first, second, third = (room.show(round_, p) for p in (ana, bia, caio))
        for value in (1, -1, 1, -1):
            room.thumb(first, L, value)
        room.reasons(first, L, [Reason.OBVIOUS])
        room.reasons(first, L, [Reason.INVENTED, Reason.REPETITIVE])
        room.thumb(second, L, 1)
        room.thumb(second, L, None)
        room.prefer(second, Choice.LEFT)
        room.prefer(second, None)
        room.thumb(third, L, 1)
        room.answer(round_, caio, "99")
        room.answer(round_, ana, "37")
        caio.removed_at = now()
        session.flush()
        found = round_results(session, round_.id)
        assert found.n_exposed == 2
        assert found.first.n_voted == 1
        assert found.first.up[Role.TUNED] == Share(0, 1)
        assert found.first.reasons[Role.TUNED] == [(Reason.INVENTED, 1), (Reason.REPETITIVE, 1)]
        assert found.first.preferences == Preferences()
        assert found.n_human_answers == 1
        assert found.picture.series[0].counts[36] == 1
        assert found.picture.series[0].n == 1

    db.write_now(work)


def test_preferences_keep_the_side_and_the_guess_says_how_blind_it_was(db: Database) -> None:
    votes = [  # where the fine-tuned stood, what was chosen, where the base was thought to stand
        *[(L, Choice.LEFT, R)] * 4,  # chose the fine-tuned, guessed right
        *[(L, Choice.RIGHT, L)] * 2,  # chose the base, guessed wrong
        *[(R, Choice.RIGHT, L)] * 3,  # chose the fine-tuned, guessed right
        (R, Choice.LEFT, R),  # chose the base, guessed wrong
        (R, Choice.TIE, None),
        *[(L, Choice.BOTH_BAD, None)] * 2,
    ]

    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        for person, (tuned, choice, guess) in zip(room.people(len(votes)), votes, strict=True):
            exposure = room.show(round_, person, tuned)
            room.prefer(exposure, choice)
            if guess:
                room.guess(exposure, guess)
        found = round_results(session, round_.id).first
        assert found.preferences == Preferences(
            wins_left=4, losses_left=2, wins_right=3, losses_right=1, ties=1, both_bad=2
        )
        assert found.preferences.left_share == Share(5, 10)
        assert found.preferences.balanced_share == pytest.approx((4 / 6 + 3 / 4) / 2)
        assert found.guess == Share(7, 10)
        assert found.blinding_index == pytest.approx(0.4)
        assert (found.totals.n_decided, found.totals.ties, found.totals.both_bad) == (10, 1, 2)
        split = found.by_guess
        assert split.right == Preferences(wins_left=4, wins_right=3)
        assert split.wrong == Preferences(losses_left=2, losses_right=1)
        assert split.silent == Preferences(ties=1, both_bad=2)
        assert split.compares
        assert split.p == pytest.approx(1 / 120)  # three of ten, all on one side
        assert found.preferences.n == 13

    db.write_now(work)


def test_the_shift_is_of_those_who_voted_twice(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        pairs = [
            (Choice.RIGHT, Choice.LEFT),  # from the base to the fine-tuned
            (Choice.RIGHT, Choice.LEFT),
            (Choice.TIE, Choice.LEFT),
            (Choice.LEFT, Choice.BOTH_BAD),
            (Choice.LEFT, Choice.LEFT),
            (Choice.LEFT, None),  # left before the second vote
        ]
        for person, (before, after) in zip(room.people(6), pairs, strict=True):
            exposure = room.show(round_, person, L)
            room.prefer(exposure, before)
            room.thumb(exposure, L, -1)
            if after:
                room.prefer(exposure, after, 2)
                room.thumb(exposure, L, 1 if after == Choice.LEFT else -1, 2)
        found = round_results(session, round_.id)
        assert found.first.preferences.share == Share(3, 5)
        assert found.second is not None
        assert found.second.preferences.share == Share(4, 4)
        shift = found.shift
        assert shift is not None
        assert shift.n_changed == 4
        assert shift.moves[0] == (Verdict.BASE, Verdict.TUNED, 2)
        assert shift.preferred[Role.TUNED] == Change(n=5, before=2, after=4, gained=3, lost=1)
        assert shift.preferred[Role.BASE] == Change(n=5, before=2, after=0, gained=0, lost=2)
        assert shift.up[Role.TUNED] == Change(n=5, before=0, after=4, gained=4, lost=0)
        assert shift.up[Role.TUNED].p == 2 / 2**4
        assert shift.up[Role.BASE].n == 0

    db.write_now(work)


def test_class_and_models_stand_in_one_picture_of_numbers(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        answers = ["37", "trinta e sete", "37!", "7", "não sei", "1000"]
        for person, answer in zip(room.people(6), answers, strict=True):
            room.answer(round_, person, answer)
        room.samples(round_, Role.TUNED, ["37"] * 20)
        found = round_results(session, round_.id).picture
        assert [series.who for series in found.series] == [Who.CLASS, Who.TUNED]
        people, tuned = found.series
        assert (people.n, people.n_without_number, people.n_distinct, people.top_3) == (4, 2, 2, 4)
        assert (people.counts[36], people.counts[6], sum(people.counts)) == (3, 1, 4)
        assert people.favourite == ("37", 3)
        assert people.expected_distinct == pytest.approx(100 * (1 - 0.99**4))
        assert people.expected_top_3 == pytest.approx(
            3.06, abs=0.05
        )  # four dice, hardly ever alike
        assert tuned.uniformity_p is not None
        assert tuned.uniformity_p < 0.001
        assert found.max_share == 1.0
        assert found == round_results(session, round_.id).picture  # the dice are seeded

    db.write_now(work)


def test_a_few_students_stand_beside_many_samples(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round(room.prompt("Uma fruta?", AnswerKind.WORDS))
        answers = ["kiwi", "uva", "Kiwi", "figo", "caju"]
        for person, answer in zip(room.people(5), answers, strict=True):
            room.answer(round_, person, answer)
        fruits = [f"fruta {letter}" for letter in "abcdefghijkl"]
        room.samples(round_, Role.TUNED, [*fruits * 4, "uva", "uva"])
        found = round_results(session, round_.id).picture
        assert [bar.label for bar in found.bars][:2] == ["Kiwi", "uva"]  # 2 of 5, 1 of 5
        assert len(found.bars) == 8
        assert found.once == ["caju", "figo"]
        assert found.others is not None
        assert found.others.counts == {Who.CLASS: 2, Who.TUNED: 24}

    db.write_now(work)


def test_what_was_cancelled_or_failed_counts_nowhere(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        (person,) = room.people(1)
        played = room.round()
        room.thumb(room.show(played, person), L, 1)
        long = dict.fromkeys(Role, "palavra " * 50)
        room.show(room.round(texts=long, is_opened=False), person)  # cancelled before the vote
        for finish in (Finish.ERROR, Finish.CANCELLED, Finish.TIMEOUT):
            failed = room.round(texts=long, finish=finish)
            room.thumb(room.show(failed, person), L, -1)
        room.round(is_blind=False)
        results, summary = room_results(session, room.room.id)
        assert [result.is_played for result in results] == [True, *[False] * 4, True]
        assert (summary.n_rounds, summary.n_open_rounds, summary.n_votes) == (2, 1, 1)
        assert summary.by_role[Role.BASE].median_words == 10
        assert summary.by_role[Role.BASE].median_tokens == 10
        assert summary.by_role[Role.TUNED].median_words == 1
        assert results[2].answers == {}

    db.write_now(work)


def test_what_one_student_alone_wrote_gets_no_bar(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round(room.prompt("Uma fruta?", AnswerKind.WORDS))
        for person, answer in zip(
            room.people(5), ["Maçã", "maca", "a Banana", "o Zé é feio", "uva"], strict=True
        ):
            room.answer(round_, person, answer)
        room.samples(round_, Role.BASE, ["banana", "jaca", "jaca"])
        found = round_results(session, round_.id).picture
        bars = {bar.label: dict(bar.counts) for bar in found.bars}
        assert bars == {
            "Maçã": {Who.CLASS: 2, Who.BASE: 0},
            "jaca": {Who.CLASS: 0, Who.BASE: 2},
            "banana": {Who.CLASS: 1, Who.BASE: 1},
        }
        assert found.others is not None
        assert found.others.counts == {Who.CLASS: 2, Who.BASE: 0}
        assert found.once == ["uva", "o Zé é feio"]  # by the alphabet, without the article
        people, base = found.series
        assert (people.n, people.n_distinct, people.top_3) == (5, 4, 4)
        assert (base.n, base.n_distinct, base.top_3) == (3, 2, 3)

    db.write_now(work)


def test_the_summary_draws_people_and_is_made_with_few_queries(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        people = room.people(12)
        rounds = [room.round(room.prompt(f"Pergunta {i}", AnswerKind.TEXT)) for i in range(4)]
        for round_ in rounds:
            for i, person in enumerate(people[:10]):
                exposure = room.show(round_, person, L if i % 2 else R)
                room.thumb(exposure, L if i % 2 else R, 1 if i < 5 else -1)  # of the fine-tuned
                if i < 3:
                    room.prefer(exposure, Choice.LEFT)
        session.expire_all()
        statements: list[str] = []
        engine = session.get_bind()
        event.listen(engine, "after_cursor_execute", lambda *args: statements.append(args[2]))
        results, summary = room_results(session, room.room.id)
        assert len(statements) <= 6
        assert [r.number for r in results] == [1, 2, 3, 4]
        assert (summary.n_rounds, summary.n_participants, summary.n_voters) == (4, 12, 10)
        assert summary.n_votes == 52
        tuned = summary.by_role[Role.TUNED]
        assert (tuned.up.k, tuned.up.n, tuned.up.n_people) == (20, 40, 10)
        assert tuned.up.interval is not None
        low, high = tuned.up.interval
        assert high - low > 2 * (wilson(20, 40)[1] - 0.5)  # ten people, not forty
        assert summary.preferences.share == Share(4, 12)
        assert (tuned.median_ms, tuned.median_words, tuned.median_tokens) == (100.0, 1, 1)
        assert summary.shows_percent
        assert tuned.up.shows_percent
        assert (summary.preferred.k, summary.preferred.n) == (4, 12)
        assert (summary.left.k, summary.left.n, summary.left.n_people) == (12, 12, 3)
        assert summary.effects[0].value > 1  # they always took the left
        assert summary.by_guess.silent == summary.preferences
        assert not summary.preferred.shows_percent  # twelve votes of three people
        assert summary == class_summary(session, room.room.id)

    db.write_now(work)


def test_an_empty_room_has_results_too(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        results, summary = room_results(session, room.room.id)
        assert results == []
        assert (summary.n_voters, summary.guess.n, summary.guess.interval) == (0, 0, None)
        assert not summary.shows_percent
        prompt = room.prompt("Só texto", AnswerKind.TEXT, Author.TEACHER)
        found = round_results(session, room.round(prompt).id)
        assert (found.n_exposed, found.picture.series) == (0, [])

    db.write_now(work)
