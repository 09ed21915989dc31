"""`dois-treinos`: serve the page, ask and measure checkpoints, train them, export a class, look whether all is well."""

import argparse
import gc
import importlib.metadata
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from app.config import Settings
from app.errors import Unusable
from model.errors import BadInput

TRAINING = ("tokenizer", "pretrain", "finetune")


def main(argv: list[str] | None = None) -> None:
    """Run one command; what a person did wrong is a sentence and exit code 1, not a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="dois-treinos", description=__doc__)
    parser.add_argument("command", choices=list(COMMANDS))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="see: dois-treinos COMMAND --help"
    )
    args = parser.parse_args(argv[:1])
    try:
        COMMANDS[args.command](argv[1:])
    except (Unusable, BadInput, OSError) as error:
        sys.exit(f"dois-treinos: {error}")
    except ValidationError as error:
        faults = [f"{fault['loc'][0]}: {fault['msg']}".upper() for fault in error.errors()]
        sys.exit(f"dois-treinos: a setting is wrong. {'; '.join(faults)}")
    except KeyboardInterrupt:
        sys.exit(130)


def serve(argv: list[str]) -> None:
    """The web app, until Ctrl+C."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="dois-treinos serve")
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--base", help="folder of the base checkpoint")
    parser.add_argument("--tuned", help="folder of the tuned checkpoint")
    parser.add_argument("--pair", metavar="NAME", help="fetch a known pair once: see the README")
    parser.add_argument(
        "--more",
        action="append",
        metavar="NAME=DIR",
        help="another checkpoint for /v1, read at its first use, or a folder of them; may be given again",
    )
    args = parser.parse_args(argv)
    if args.pair:
        args.base, args.tuned = fetched_pair(args.pair)
    changes = {
        "host": args.host,
        "port": args.port,
        **({"dois_treinos_base": args.base} if args.base else {}),
        **({"dois_treinos_tuned": args.tuned} if args.tuned else {}),
        **({"dois_treinos_more": args.more} if args.more else {}),
    }
    settings = Settings(**changes)
    listener = listen(settings.host, settings.port)
    import uvicorn

    from app.main import from_settings

    app = from_settings(settings)
    gc.collect()
    gc.freeze()  # else all that was loaded is looked through again and again, 0.2 s each time
    print_addresses(settings, listener.getsockname()[1])
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])


def print_addresses(settings: Settings, port: int) -> None:
    """Where to go: students to the page, the teacher by a link that signs a browser in."""
    from app.addresses import is_loopback, qr_terminal, reachable_at
    from app.db import Database
    from app.services import teachers

    db = Database(settings.database_url)
    link = db.write_now(lambda session: teachers.open_session(session, teachers.LINK_LASTS))
    db.close()
    for host in reachable_at(settings.host):
        url = f"http://{host}:{port}"
        print(f"  Dois Treinos: {url}")
        print(f"  Para quem dá a aula (guarde para si): {url}/teacher/enter/{link}")
    if settings.public_url or not is_loopback(host.strip("[]")):
        phones = settings.public_url or url
        print(f"\n  Para os celulares da turma: {phones}\n\n{qr_terminal(phones)}\n")
    sys.stdout.flush()


def fetched_pair(name: str) -> tuple[Path, Path]:
    """Folders of a pair of others, fetched where it is not here yet; says which commits these are."""
    from model.hub import fetch_pair, origin

    folders = fetch_pair(name, Path("data") / "pairs")
    for folder in folders:
        print(f"  {origin(folder)}")
    return folders


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on, taken before the models are loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        raise Unusable(
            f"Port {port} on {host} cannot be used ({error.strerror}). "
            f"Is the app running already? Another port: make run PORT={port + 1}"
        ) from error
    return listener


def train(argv: list[str]) -> None:
    """One of the stages of training; the rest of the line goes to it."""
    if not argv or argv[0] not in TRAINING:
        sys.exit(f"usage: dois-treinos train {{{','.join(TRAINING)}}} … (each has --help)")
    stage, rest = argv[0], argv[1:]
    if stage == "tokenizer":
        from model.corpus import main as run
    elif stage == "pretrain":
        from model.pretrain import main as run
    else:
        from model.finetune import main as run
    run(rest)


def generate(argv: list[str]) -> None:
    from model.talk import generate_main

    generate_main(argv, named_checkpoints())


def evaluate(argv: list[str]) -> None:
    from model.talk import evaluate_main

    evaluate_main(argv, named_checkpoints())


def export(argv: list[str]) -> None:
    """A room's votes as a file: a table, everything, training rows, or LLM Comparator's JSON."""
    from app.services.exports import Format, export_room
    from app.tables import Role

    parser = argparse.ArgumentParser(prog="dois-treinos export", description=export.__doc__)
    parser.add_argument("--room", required=True, metavar="CODE", help="the room's six characters")
    parser.add_argument("--format", required=True, choices=list(Format), type=Format)
    parser.add_argument("--out", type=Path, metavar="FILE", help="instead of the terminal")
    help_ = "whose answers become kto rows"
    parser.add_argument("--answers", choices=("tuned", "both"), default="tuned", help=help_)
    args = parser.parse_args(argv)
    roles = tuple(Role) if args.answers == "both" else (Role.TUNED,)
    text = export_room(Settings().database_url, args.room, args.format, roles).text
    if args.out:
        args.out.write_text(text, encoding="utf-8", newline="")
    else:
        sys.stdout.write(text)


def named_checkpoints() -> dict[str, Path]:
    """What `base` and `tuned` mean: the embedded pair, or what the environment says; and others that it names."""
    from model.shelf import find_checkpoints

    settings = Settings()
    pair = {"base": settings.dois_treinos_base, "tuned": settings.dois_treinos_tuned}
    return pair | find_checkpoints(settings.dois_treinos_more, taken=pair)


def doctor(argv: list[str]) -> None:
    """A line for each thing that the app needs; exit code 1 where one is missing."""
    argparse.ArgumentParser(prog="dois-treinos doctor", description=doctor.__doc__).parse_args(argv)
    settings = Settings()
    is_well = True
    for name, check in (
        ("program", check_program),
        ("backend", check_backend),
        ("checkpoints", lambda: check_checkpoints(settings)),
        ("database", lambda: check_database(settings)),
    ):
        try:
            print(f"ok      {name}: {check()}")
        except Exception as error:  # a doctor names every ailment
            is_well = False
            print(f"FAILED  {name}: {error}")
    if not is_well:
        sys.exit(1)


def check_program() -> str:
    version = importlib.metadata.version
    return (
        f"dois-treinos {version('dois-treinos')}, Python {platform.python_version()}, "
        f"torch {version('torch')}, fastapi {version('fastapi')}"
    )


def check_backend() -> str:
    from model.device import CORES, hardware, pick_device

    return f"{hardware(pick_device())}, {CORES} cores"


def check_checkpoints(settings: Settings) -> str:
    from app.main import find_more, load_sources
    from model.checkpoint import Checkpoint
    from model.hub import origin

    more = find_more(settings)
    found = [
        f"{role} {source.sha256[:12]}, {origin(source.folder) or 'as recorded'}"
        if isinstance(source, Checkpoint)
        else f"{role} is {source.name} on {source.url}"
        for role, source in load_sources(settings).items()
    ]
    return ", ".join(
        [*found, *(f"{name} in {folder}, not read yet" for name, folder in more.items())]
    )


def check_database(settings: Settings) -> str:
    from app.db import Database

    db = Database(settings.database_url)
    try:
        return f"{db.engine.dialect.name}, reachable, {db.state()}"
    finally:
        db.close()


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "serve": serve,
    "generate": generate,
    "evaluate": evaluate,
    "train": train,
    "export": export,
    "doctor": doctor,
}
