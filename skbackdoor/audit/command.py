"""The command line: `skbackdoor audit DATA --label COLUMN`."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from sklearn.preprocessing import FunctionTransformer

from .outside import open_model
from .reading import NETWORK, CannotRead, read
from .training_data import audit
from .writing import check_writable

_STATUS = "Exit status: 0 nothing found, 1 something found (poison or suspects), 2 error."


def parser():
    """The parser of the command line.

    Returns
    -------
    parser : ArgumentParser
    """
    main = argparse.ArgumentParser(
        prog="skbackdoor", description="Is there a backdoor in these data, or in this model?"
    )
    commands = main.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "audit",
        help="audit training data, and a model if one is given",
        description="Audit training data for backdoors, and write one page.",
        epilog=_STATUS,
    )
    one.add_argument(
        "data",
        help=".csv, .tsv, .parquet or .npz file, or a folder with one folder of images a class",
    )
    one.add_argument("--label", metavar="COLUMN", help="column (or array) of the labels")
    one.add_argument("--text", metavar="COLUMN", help="column of texts, alone to be audited")
    one.add_argument("--out", metavar="FILE", type=Path, help="the page, such as report.html")
    one.add_argument("--json", action="store_true", help="print JSON instead of a summary")
    one.add_argument("--model", metavar="FILE", type=Path,
                     help="fitted classifier, saved by skops, that takes these rows")  # fmt: skip
    one.add_argument("--trust", metavar="TYPE", action="append", default=[],
                     help="a type in the model file that skops does not know")  # fmt: skip
    one.add_argument("--image-shape", metavar="N", type=int, nargs="+",
                     help="height and width (or channels first) of flat images")  # fmt: skip
    one.add_argument("--weights", metavar="FILE", type=Path,
                     help="weights of a MobileNetV2 whose features images are compared by"
                     " (needs the extra 'deep'); pixels otherwise")  # fmt: skip
    one.add_argument("--max-rows", metavar="N", type=int, default=40,
                     help="most rows of the data on the page (default: 40)")  # fmt: skip
    one.add_argument("--no-samples", action="store_true", help="no row of the data on the page")
    one.add_argument("--jobs", metavar="N", type=int, help="fits at a time")
    one.add_argument("--seed", metavar="N", type=int, default=0, help="draws rows (default: 0)")
    return main


def run(arguments):
    """Run the command.

    Parameters
    ----------
    arguments : list of str

    Returns
    -------
    status : int
        0 nothing found, 1 something found, 2 error.
    """
    args = parser().parse_args(arguments)
    try:
        report = _audited(args)
        if args.out is not None:
            report.to_html(args.out, max_rows=args.max_rows, samples=not args.no_samples)
        try:
            print(report.to_json() if args.json else report.summary(), flush=True)
        except BrokenPipeError:  # whoever reads has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if args.out is not None:
            print(f"The page is {args.out.resolve()}", file=sys.stderr)
    except KeyboardInterrupt:
        return _failed("stopped; nothing was written.")
    except (CannotRead, ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        return _failed(error)
    return 0 if report.verdict == "nothing" else 1


def _failed(error):
    text = str(error) or type(error).__name__
    print(f"skbackdoor: {text}", file=sys.stderr)
    return 2


def _audited(args):
    if args.out is not None:
        check_writable(args.out)  # before the work, not after it
    if args.max_rows < 0:
        raise CannotRead(f"--max-rows {args.max_rows} must be 0 or more.")
    if args.trust and args.model is None:
        raise CannotRead("--trust names a type in the file of --model, and there is none.")
    if not 0 <= args.seed < 2**32:
        raise CannotRead(f"--seed {args.seed} must be from 0 to 2**32 - 1.")
    if args.jobs == 0:
        raise CannotRead("--jobs 0 must be 1 or more, or -1 for all cores.")
    model = None if args.model is None else open_model(args.model, args.trust)
    shape = None if args.image_shape is None else tuple(args.image_shape)
    side = {} if args.weights is None else {"side": NETWORK}
    data = read(args.data, args.label, text=args.text, image_shape=shape, **side)
    representation = None
    if args.weights is not None:
        representation = _features(args.weights, data)
    elif Path(args.data).is_dir():
        data.notes.append(
            "Images are compared by their pixels. For photographs give --weights: frozen features"
            " of a network tell far more."
        )
    for note in data.notes:
        print(note, file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return audit(
            data.X,
            data.y,
            model,
            representation=representation,
            image_shape=data.image_shape,
            title=f"Audit of {Path(args.data).name}",
            n_jobs=args.jobs,
            random_state=args.seed,
        )


def _features(weights, data):
    """Frozen features of images, normalised."""
    try:
        from .photographs import Features
    except ImportError as error:
        raise CannotRead(f"--weights needs the extra 'deep': {error}") from error

    if not weights.exists():
        raise CannotRead(f"{weights} is not there.")
    side = max(96, min(224, data.X.shape[-1]))
    data.notes.append(f"Images are compared by the features of a MobileNetV2 ({weights.name}).")
    return FunctionTransformer(Features(weights, side).fit(data.X[:1]))
