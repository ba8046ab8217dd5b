# make demo | test | fuzz | lint | docs | bench | validate | search | oracle | clean. Each makes the virtual environment by itself; PYTHON=... chooses
# the interpreter (3.11 or newer).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PROMPT ?= Once upon a time

.PHONY: demo test fuzz lint docs bench validate search oracle clean
.DELETE_ON_ERROR:

# A story from the shipped ternary model on the emulated accelerator, with what that took there.
demo: $(READY)
	$(BIN)/slimulator generate "$(PROMPT)" -n 75

# On all cores. Sharing out the tests does not change what they do: each makes its own machine and files.
test: $(READY)
	$(BIN)/pytest --numprocesses=auto --dist=worksteal

# Random programs, operands and vectors that round badly, other ones each time: SLIMULATOR_FUZZ programs, by default a night's work.
# In front of them every way to stop a run, 200 times each, at random moments.
fuzz: $(READY)
	export SLIMULATOR_FUZZ=$${SLIMULATOR_FUZZ:-500000} SLIMULATOR_FUZZ_SEED=$${SLIMULATOR_FUZZ_SEED:-$$(date +%s)}; \
	SLIMULATOR_STOPS=200 $(BIN)/pytest --numprocesses=auto --dist=worksteal --timeout=7200 tests/emulator/test_stop_stress.py && \
	$(BIN)/pytest --numprocesses=auto --dist=worksteal --timeout=86400 tests/emulator/test_fuzzing.py tests/emulator/test_differential.py \
		tests/isa/test_error_bounds.py tests/isa/test_second_model.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m isa.manual docs/isa
	$(BIN)/python -m slimulator.options_page docs/options.md

bench: $(READY)
	$(BIN)/python -m benchmarks

# Published simulators' workloads as programs, their cycles and ours, and published systems; the tables of docs/validation.md. Half
# a minute on a quiet host of two cores.
validate: $(READY)
	mkdir -p out
	$(BIN)/slimulator validate --json out/validation.json
	$(BIN)/python -m slimulator.validate.page out/validation.json docs/validation.md

# The network of programs/networks/digits once more: found, trained, made int8 and tried on the machine. It first installs what that
# needs, torch among it. Stopped, it goes on; most of an hour of one core (docs/search.md).
search: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	$(BIN)/python -m programs.networks.search programs/networks/digits/recipe.json --out out/search

# Outside references (GNU binutils, gcc, picolibc, QEMU; transformers: pip install '.[oracle]'); a missing one is a failure here, a
# skip in `make test`.
oracle: $(READY)
	SLIMULATOR_ORACLE=require $(BIN)/pytest --numprocesses=auto --dist=worksteal tests/oracle

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; $$($(PYTHON) --version) found. Try make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
