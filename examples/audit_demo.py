"""Is there a backdoor in these digits? The audit that anyone can run, on data that have one.

    python examples/audit_demo.py [--output audit.html] [--clean]

Half of scikit-learn's digits, a patch of 2 x 2 pixels on 6 % of them with the label 9.
"""

import argparse
from pathlib import Path

from sklearn.datasets import load_digits

from skbackdoor import Attack, PatchTrigger, audit


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("audit.html"))
    parser.add_argument("--clean", action="store_true", help="without the backdoor")
    args = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    X, y = (X[:900] / 16).reshape(-1, 8, 8), y[:900]
    if not args.clean:
        attack = Attack(
            PatchTrigger(2), target=9, poisoning_rate=0.06, placement="replace", random_state=0
        )
        X, y, _ = attack.fit(X, y).poison(X, y)
    report = audit(X, y, title="Audit of digits" + (" with a planted backdoor" * (not args.clean)))
    report.to_html(args.output)
    print(report.summary())
    print(f"\nThe page is {args.output.resolve()}")
    print("Your own data: python -m skbackdoor audit data.csv --label COLUMN --out audit.html")


if __name__ == "__main__":
    main()
