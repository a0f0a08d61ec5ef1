"""``python -m tiny_dancer``: the command ``tiny-dancer``, where no script of that name is on the path."""

from tiny_dancer.cli import main

if __name__ == "__main__":
    main()
