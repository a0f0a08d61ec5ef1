"""One file per kind of upstream; :mod:`.base` says what each has to say for itself, :mod:`.kinds` lists them."""
