# make test    lint, types and the whole suite
# make demo    analyze the example calls and print the escalation and agent reports; calls of a minute hold less
#              evidence than real ones, hence the lower threshold
# make audit   ask for known holes in the pinned dependencies; needs the index's answers, and fails without them
# make clean   remove what the other targets made
# The first two set up .venv where it is missing or out of date. It needs Python 3.11 to 3.13 with venv, and
# about 4 GB; another interpreter is chosen with `make PYTHON=python3.12 test`.
# The tests of the HTML page drive Debian's chromium: `make test` installs it where it runs as root with apt-get;
# those tests are skipped where it is missing.

PYTHON = python3
BIN = .venv/bin
INSTALLED = .venv/installed
DEMO_DB = build/demo.duckdb
AUDIT = build/audit

.PHONY: test demo browser audit clean

test: $(INSTALLED) browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests

browser:
	@if ! command -v chromedriver > /dev/null && command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
		(apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
			chromium chromium-driver) > /dev/null 2>&1 \
		|| echo "chromium could not be installed; the tests that need it are skipped" >&2; \
	fi

demo: $(INSTALLED)
	mkdir -p build
	rm -f $(DEMO_DB) $(DEMO_DB).wal
	$(BIN)/callmood analyze examples/calls --metadata examples/metadata.csv --escalation-threshold 3 --db $(DEMO_DB)
	$(BIN)/callmood report --escalations --db $(DEMO_DB)
	$(BIN)/callmood report --agent --db $(DEMO_DB)

# In an environment of its own, so that what examines is not among what is examined. --strict: a dependency that
# the index says nothing about counts as a failure, since pip-audit would call it free of holes otherwise.
audit:
	test -x $(AUDIT)/bin/pip-audit || ($(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install --quiet "pip-audit>=2.9")
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt \
		|| { echo "audit: not passed. A line with an identifier is a known hole; a dependency that was not found, or a"; \
		echo "failed connection, means that the index cannot be asked from here, and that nothing was shown."; exit 1; }

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,pyannote]"
	touch $(INSTALLED)

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
