"""First tables"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

CURRENT_VOTE = """
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
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("n_parameters", sa.BigInteger(), nullable=False),
        sa.Column("tokens_seen", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("sha256", "role", name=op.f("uq_checkpoint_sha256_role")),
    )
    op.create_table(
        "participant",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_participant")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_participant_token_hash")),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("is_from_deck", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.id"], name=op.f("fk_prompt_participant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
    )
    with op.batch_alter_table("prompt", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_prompt_participant_id"), ["participant_id"], unique=False
        )

    op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("prompt_ids", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("top_p", sa.Double(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completion_ids", sa.JSON(), nullable=True),
        sa.Column("logps", sa.JSON(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("queue_ms", sa.Double(), nullable=True),
        sa.Column("first_token_ms", sa.Double(), nullable=True),
        sa.Column("total_ms", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_generation_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_generation_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    with op.batch_alter_table("generation", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_generation_checkpoint_id"), ["checkpoint_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_generation_prompt_id"), ["prompt_id"], unique=False)

    op.create_table(
        "exposure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("left_id", sa.Integer(), nullable=False),
        sa.Column("right_id", sa.Integer(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["left_id"], ["generation.id"], name=op.f("fk_exposure_left_id")),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participant.id"], name=op.f("fk_exposure_participant_id")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_exposure_prompt_id")),
        sa.ForeignKeyConstraint(["right_id"], ["generation.id"], name=op.f("fk_exposure_right_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exposure")),
        sa.UniqueConstraint("public_id", name=op.f("uq_exposure_public_id")),
    )
    with op.batch_alter_table("exposure", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exposure_left_id"), ["left_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_exposure_participant_id"), ["participant_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_exposure_prompt_id"), ["prompt_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_exposure_right_id"), ["right_id"], unique=False)

    op.create_table(
        "vote_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("exposure_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=True),
        sa.Column("ms_since_shown", sa.Double(), nullable=False),
        sa.Column("is_after_reveal", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("target IN ('left', 'right')", name=op.f("ck_vote_event_target")),
        sa.CheckConstraint("value IN (-1, 1)", name=op.f("ck_vote_event_value")),
        sa.ForeignKeyConstraint(
            ["exposure_id"], ["exposure.id"], name=op.f("fk_vote_event_exposure_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vote_event")),
        sa.UniqueConstraint(
            "exposure_id", "idempotency_key", name=op.f("uq_vote_event_exposure_id_idempotency_key")
        ),
    )
    with op.batch_alter_table("vote_event", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_vote_event_exposure_id"), ["exposure_id"], unique=False
        )

    op.execute(CURRENT_VOTE)


def downgrade() -> None:
    op.execute("DROP VIEW current_vote")
    with op.batch_alter_table("vote_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vote_event_exposure_id"))

    op.drop_table("vote_event")
    with op.batch_alter_table("exposure", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_exposure_right_id"))
        batch_op.drop_index(batch_op.f("ix_exposure_prompt_id"))
        batch_op.drop_index(batch_op.f("ix_exposure_participant_id"))
        batch_op.drop_index(batch_op.f("ix_exposure_left_id"))

    op.drop_table("exposure")
    with op.batch_alter_table("generation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_generation_prompt_id"))
        batch_op.drop_index(batch_op.f("ix_generation_checkpoint_id"))

    op.drop_table("generation")
    with op.batch_alter_table("prompt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_prompt_participant_id"))

    op.drop_table("prompt")
    op.drop_table("participant")
    op.drop_table("checkpoint")
