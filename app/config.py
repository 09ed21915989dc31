"""Every environment variable, in one frozen record."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import PROJECT


class Settings(BaseSettings):
    """What the server can be told from outside. Each name is also an environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    database_url: str = Field(
        "sqlite:///data/dois-treinos.db", description="sqlite:///… or postgresql+psycopg://…"
    )
    dois_treinos_base: Path = Field(
        PROJECT / "model" / "checkpoints" / "base", description="folder of the base checkpoint"
    )
    dois_treinos_tuned: Path = Field(
        PROJECT / "model" / "checkpoints" / "tuned", description="folder of the tuned checkpoint"
    )
    dois_treinos_base_url: str = Field(
        "", description="OpenAI-compatible server, up to /v1, to ask instead of the base checkpoint"
    )
    dois_treinos_tuned_url: str = Field("", description="the same for the tuned checkpoint")
    dois_treinos_base_model: str = Field("base", description="the base model's name on its server")
    dois_treinos_tuned_model: str = Field(
        "tuned", description="the tuned model's name on its server"
    )
    dois_treinos_api_key: SecretStr = Field(SecretStr(""), description="key for those servers")
    dois_treinos_more: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="more checkpoints for /v1: name=DIR,name2=DIR2; a DIR of checkpoints is all of them",
    )
    dois_treinos_more_mb: int = Field(
        2048, ge=1, description="memory for the weights of those; the longest unused leaves"
    )
    dois_treinos_exact: bool = Field(
        False, description="float32, slower: else whole numbers of 8 and 16 bits"
    )
    engine_threads: int = Field(
        0, ge=0, description="processor cores that the models may use; 0: all"
    )
    max_exchanges: int = Field(
        320, ge=1, description="exchanges in the works at once, beyond which visitors wait"
    )
    leave_grace_s: float = Field(
        15.0, ge=0, description="seconds until an exchange that nobody watches is cancelled"
    )
    public_url: str = Field(
        "", description="how phones reach the server, where it cannot know: http://10.0.0.5:8000"
    )
    secure_cookies: bool = Field(False, description="true where the site is served over https")
    trusted_origins: list[str] = Field(
        [], description='other origins whose forms are accepted, as JSON: ["https://…"]'
    )

    @field_validator("dois_treinos_more", mode="before")
    @classmethod
    def at_commas(cls, value: Any) -> Any:
        """The environment has one text, the command line a list."""
        if isinstance(value, str):
            return tuple(entry for part in value.split(",") if (entry := part.strip()))
        return value
