"""Rooms"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


CURRENT_VOTE = """
CREATE VIEW current_vote AS
SELECT id, exposure_id, kind, target, vote_round, value, choice, reasons, created_at
FROM vote_event AS event
WHERE NOT EXISTS (
    SELECT 1 FROM vote_event AS later
    WHERE later.exposure_id = event.exposure_id
      AND later.kind = event.kind
      AND later.target = event.target
      AND later.vote_round = event.vote_round
      AND later.id > event.id
)
"""
BEFORE = """
CREATE VIEW current_vote AS
SELECT id, exposure_id, kind, target, value, created_at
FROM vote_event AS event
WHERE NOT EXISTS (
    SELECT 1 FROM vote_event AS later
    WHERE later.exposure_id = event.exposure_id
      AND later.kind = event.kind
      AND later.target = event.target
      AND later.id > event.id
)
"""


def upgrade() -> None:
    op.execute("DROP VIEW current_vote")
    op.create_table(
        "room",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("round_number", sa.Integer(), nullable=False),
        sa.Column("vote_round", sa.Integer(), nullable=False),
        sa.Column("phase_ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("allows_free_play", sa.Boolean(), nullable=False),
        sa.Column("n_joined", sa.Integer(), nullable=False),
        sa.Column("shown_prompt_id", sa.Integer(), nullable=True),
        sa.Column("erase_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_room")),
        sa.UniqueConstraint("code", name=op.f("uq_room_code")),
    )
    with op.batch_alter_table("room", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_room_erase_at"), ["erase_at"], unique=False)

    op.create_table(
        "teacher",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher")),
    )
    op.create_table(
        "teacher_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_teacher_session_token_hash")),
    )
    op.create_table(
        "room_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("room_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["room_id"], ["room.id"], name=op.f("fk_room_key_room_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_room_key")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_room_key_token_hash")),
    )
    with op.batch_alter_table("room_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_room_key_room_id"), ["room_id"], unique=False)

    op.create_table(
        "round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("room_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("asks_people", sa.Boolean(), nullable=False),
        sa.Column("is_blind", sa.Boolean(), nullable=False),
        sa.Column("has_second_vote", sa.Boolean(), nullable=False),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        sa.Column("countdown_s", sa.Integer(), nullable=True),
        sa.Column("base_id", sa.Integer(), nullable=True),
        sa.Column("tuned_id", sa.Integer(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("second_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("second_closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["base_id"], ["generation.id"], name=op.f("fk_round_base_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_round_prompt_id")),
        sa.ForeignKeyConstraint(["room_id"], ["room.id"], name=op.f("fk_round_room_id")),
        sa.ForeignKeyConstraint(["tuned_id"], ["generation.id"], name=op.f("fk_round_tuned_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("room_id", "number", name=op.f("uq_round_room_id_number")),
    )
    with op.batch_alter_table("round", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_round_prompt_id"), ["prompt_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_round_room_id"), ["room_id"], unique=False)

    op.create_table(
        "human_answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.id"], name=op.f("fk_human_answer_participant_id")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_human_answer_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_human_answer")),
        sa.UniqueConstraint(
            "round_id", "participant_id", name=op.f("uq_human_answer_round_id_participant_id")
        ),
    )
    with op.batch_alter_table("human_answer", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_human_answer_participant_id"), ["participant_id"], unique=False
        )

    op.create_table(
        "sample_batch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("first_seed", sa.BigInteger(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("total_ms", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_sample_batch_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_sample_batch_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_batch")),
        sa.UniqueConstraint(
            "round_id", "checkpoint_id", name=op.f("uq_sample_batch_round_id_checkpoint_id")
        ),
    )
    with op.batch_alter_table("sample_batch", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sample_batch_checkpoint_id"), ["checkpoint_id"], unique=False
        )

    with op.batch_alter_table("exposure", schema=None) as batch_op:
        batch_op.add_column(sa.Column("round_id", sa.Integer(), nullable=True))
        batch_op.create_unique_constraint(
            batch_op.f("uq_exposure_round_id_participant_id"), ["round_id", "participant_id"]
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_exposure_round_id"), "round", ["round_id"], ["id"]
        )

    with op.batch_alter_table("participant", schema=None) as batch_op:
        batch_op.add_column(sa.Column("room_id", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("pseudonym", sa.Text(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("has_more_time", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(
            sa.Column(
                "consents_to_training", sa.Boolean(), nullable=False, server_default=sa.false()
            )
        )
        batch_op.add_column(sa.Column("consent_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("consent_version", sa.Integer(), nullable=True))
        batch_op.create_index(batch_op.f("ix_participant_room_id"), ["room_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_participant_room_id"), "room", ["room_id"], ["id"]
        )

    with op.batch_alter_table("prompt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("room_id", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("author", sa.Text(), nullable=False, server_default="student")
        )
        batch_op.add_column(
            sa.Column("answer_kind", sa.Text(), nullable=False, server_default="text")
        )
        batch_op.add_column(sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.alter_column("participant_id", existing_type=sa.INTEGER(), nullable=True)
        batch_op.create_index(batch_op.f("ix_prompt_room_id"), ["room_id"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_prompt_room_id"), "room", ["room_id"], ["id"])

    with op.batch_alter_table("vote_event", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_vote_event_target"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_vote_event_target"), "target IN ('left', 'right', 'pair')"
        )
        batch_op.add_column(
            sa.Column("vote_round", sa.Integer(), nullable=False, server_default="1")
        )
        batch_op.add_column(sa.Column("choice", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("reasons", sa.JSON(), nullable=True))
        batch_op.create_check_constraint(
            op.f("ck_vote_event_choice"), "choice IN ('left', 'right', 'tie', 'both-bad')"
        )
    op.execute(CURRENT_VOTE)


def downgrade() -> None:
    op.execute("DROP VIEW current_vote")
    op.execute("DELETE FROM vote_event WHERE target = 'pair' OR vote_round > 1")
    with op.batch_alter_table("vote_event", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_vote_event_choice"), type_="check")
        batch_op.drop_constraint(op.f("ck_vote_event_target"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_vote_event_target"), "target IN ('left', 'right')"
        )
        batch_op.drop_column("reasons")
        batch_op.drop_column("choice")
        batch_op.drop_column("vote_round")

    with op.batch_alter_table("prompt", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_prompt_room_id"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_prompt_room_id"))
        batch_op.alter_column("participant_id", existing_type=sa.INTEGER(), nullable=False)
        batch_op.drop_column("approved_at")
        batch_op.drop_column("offered_at")
        batch_op.drop_column("answer_kind")
        batch_op.drop_column("author")
        batch_op.drop_column("room_id")

    with op.batch_alter_table("participant", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_participant_room_id"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_participant_room_id"))
        batch_op.drop_column("consent_version")
        batch_op.drop_column("consent_at")
        batch_op.drop_column("consents_to_training")
        batch_op.drop_column("has_more_time")
        batch_op.drop_column("removed_at")
        batch_op.drop_column("last_seen_at")
        batch_op.drop_column("pseudonym")
        batch_op.drop_column("room_id")

    with op.batch_alter_table("exposure", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_exposure_round_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("uq_exposure_round_id_participant_id"), type_="unique")
        batch_op.drop_column("round_id")

    with op.batch_alter_table("sample_batch", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sample_batch_checkpoint_id"))

    op.drop_table("sample_batch")
    with op.batch_alter_table("human_answer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_human_answer_participant_id"))

    op.drop_table("human_answer")
    with op.batch_alter_table("round", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_round_room_id"))
        batch_op.drop_index(batch_op.f("ix_round_prompt_id"))

    op.drop_table("round")
    with op.batch_alter_table("room_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_room_key_room_id"))

    op.drop_table("room_key")
    op.drop_table("teacher_session")
    op.drop_table("teacher")
    with op.batch_alter_table("room", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_room_erase_at"))

    op.drop_table("room")
    op.execute(BEFORE)
