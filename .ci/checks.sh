# shellcheck shell=bash
# A part of ./dev: what keeps the project as it is. Style, clang, the hook, CI and the nightly run; it is sourced, and uses
# the functions and the counts of ./dev.
# shellcheck disable=SC2034,SC2154  # preset, short and the like are ./dev's

# ---- style

# A checkout may belong to another user than the one who runs CI, hence safe.directory.
in_git() { git -c safe.directory="$PWD" "$@"; }

# The project's own files.
sources() { in_git ls-files --cached --others --exclude-standard -- "$@"; }

command_fmt() {
  setup linting
  sources '*.cc' '*.h' | xargs -r clang-format -i
}

formatted() { xargs -r clang-format --dry-run -Werror || { say "Not formatted: run ./dev fmt" && return 1; }; }

# lint [FILE…]: all of the project, or what concerns some files.
lint() {
  local problems=0 scripts
  say "Lint"
  sources '*.cc' '*.h' | only "$@" | formatted || problems=1
  mapfile -t scripts < <(sources dev .ci/run '*.sh' | only "$@")
  [ ${#scripts[@]} -eq 0 ] || shellcheck -x "${scripts[@]}" || problems=1
  node tests/lint/lint.mjs "$@" || problems=1
  node --test tests/lint/*.test.mjs >build/lint.log 2>&1 || {
    cat build/lint.log
    problems=1
  }
  return $problems
}

only() { # only [FILE…]: of the lines, those that are a FILE; all without one
  if [ $# -eq 0 ]; then cat; else grep -Fxf <(printf '%s\n' "$@") || true; fi
}

command_lint() {
  [ $# -eq 0 ] || die "lint takes no arguments"
  setup linting
  mkdir -p build
  lint || die "lint found problems"
}

# The sources that differ from the branch that this one leaves, or from the commit before.
changed_sources() {
  local base
  base="$(in_git merge-base HEAD origin/main 2>/dev/null)" || base=""
  if [ -z "$base" ] || [ "$base" = "$(in_git rev-parse HEAD)" ]; then
    base="$(in_git rev-parse --verify --quiet HEAD~1 || in_git rev-parse HEAD)"
  fi
  in_git diff --name-only --diff-filter=d "$base" -- '*.cc' '*.h'
}

# What clang reads beside the sources: compile_commands.json and generated headers.
build_for_clang() {
  setup building checking
  build release drover_proto
}

command_clang() {
  build_for_clang
  node tests/lint/clang.mjs syntax build/release "$@"
}

tidy_changed() {
  local files
  mapfile -t files < <(changed_sources)
  if [ ${#files[@]} -eq 0 ]; then
    say "clang-tidy: no source has changed"
  elif [ ${#files[@]} -gt 40 ]; then
    say "clang-tidy: ${#files[@]} sources have changed, which is left to ./dev nightly tidy"
  else
    node tests/lint/clang.mjs tidy build/release "${files[@]}"
  fi
}

command_tidy() {
  build_for_clang
  case "${1:-}" in
    "") tidy_changed ;;
    all) node tests/lint/clang.mjs tidy build/release ;;
    *) node tests/lint/clang.mjs tidy build/release "$@" ;;
  esac
}

command_hook() {
  local file
  setup linting
  file="$(git rev-parse --git-path hooks/pre-commit)"
  if [ -e "$file" ] && ! grep -q '/dev staged' "$file"; then die "there is another hook: $file"; fi
  mkdir -p "$(dirname "$file")" build
  printf '#!/bin/sh\n# Written by ./dev hook. git commit --no-verify leaves it out.\nexec ./dev staged\n' >"$file"
  chmod +x "$file"
  say "$file looks at each commit"
}

command_staged() { # what the hook runs
  local files
  mapfile -t files < <(git diff --cached --name-only --diff-filter=d)
  [ ${#files[@]} -eq 0 ] || lint "${files[@]}" || die "the commit has problems: git commit --no-verify leaves this out"
}

# ---- CI

ci_check() {
  stage "lint"
  verdict lint
  stage "clang"
  build_for_clang
  verdict node tests/lint/clang.mjs syntax build/release
  stage "clang-tidy"
  verdict tidy_changed
}

command_ci() {
  local parts=("$@") part at files
  [ $# -gt 0 ] || parts=(check release asan tsan)
  for part in "${parts[@]}"; do
    case "$part" in
      check | release | asan | tsan) ;;
      *) die "ci has the parts check, release, asan and tsan, and not '$part'" ;;
    esac
  done
  mkdir -p build
  stage "setup"
  setup building testing linting checking
  trap build_beside_ends EXIT
  for at in "${!parts[@]}"; do
    part="${parts[at]}"
    if [ "$part" = check ]; then
      ci_check
      continue
    fi
    parse_options --preset "$part"
    [ "$part" = release ] || short=yes
    mapfile -t files < <(e2e_files)
    build_beside_ends
    stage "build ($part)"
    build "$part"
    if [ $((at + 1)) -lt ${#parts[@]} ]; then build_beside "${parts[at + 1]}"; fi
    run_tests all "${files[@]}"
    say "So far: $passed passed, $failed failed, $skipped skipped"
  done
  report_and_exit
}

# ---- nightly

nightly_tidy() {
  setup linting
  verdict lint
  build_for_clang
  verdict node tests/lint/clang.mjs syntax build/release
  verdict node tests/lint/clang.mjs tidy build/release
}
nightly_fuzz() {
  local name names
  mapfile -t names < <(fuzz_names)
  fuzz_build "${names[@]}"
  for name in "${names[@]}"; do verdict fuzz_target 600 "$name"; done
}
nightly_sim() {
  build policy dispatch_sim batch_sim
  verdict run_sims policy --requests 10000000
}
# The tests that look at who waits for whom, again and again while other programs want every processor.
nightly_busy() {
  local round busy=() list files
  list="$(e2e_files agents backpressure concurrency disconnect fairness queue)"
  mapfile -t files <<<"$list"
  for ((round = 0; round < $(nproc); round++)); do
    while :; do :; done &
    busy+=($!)
  done
  # shellcheck disable=SC2064  # those that have been started here
  trap "kill ${busy[*]}" EXIT
  for ((round = 1; round <= 20; round++)); do
    say "Round $round of 20, on a busy machine"
    run_e2e release "$results" "${files[@]}"
  done
  kill "${busy[@]}"
  trap - EXIT
}
nightly_chaos() { DROVER_CHAOS_SECONDS=600 run_e2e release "$results" tests/e2e/chaos.test.mjs; }
nightly_attack() { run_attacks "$results" no ""; }
nightly_engine() { DROVER_TEST_TYPES=all run_e2e release "$results" tests/e2e/engine.test.mjs; }
nightly_agents() { run_e2e release "$results" tests/nightly/agents.test.mjs; } # as their makers publish them

command_nightly() {
  local parts=("$@") part results="$PWD/build/release/test-results"
  [ $# -gt 0 ] || parts=(tidy fuzz sim busy chaos attack engine agents)
  for part in "${parts[@]}"; do
    declare -F "nightly_$part" >/dev/null || die "nightly has no part '$part': see ./dev help"
  done
  preset=release short=no test_runner=()
  setup building testing
  stage "build (release)"
  build release
  setup_clients
  mkdir -p "$results"
  for part in "${parts[@]}"; do
    stage "$part"
    "nightly_$part"
  done
  report_and_exit
}
