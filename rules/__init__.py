"""The rule language: files that a person writes become conditions, facts, windows and alerts. Pure.

    reference = Reference.packaged()                            # rules.reference
    ruleset = RuleSet.load([RuleSet.library_path()], reference)  # rules.ruleset; RuleErrors lists every fault
    matcher = Matcher(ruleset, reference)                       # rules.facts
    engine = Engine(ruleset)                                    # rules.engine

    matcher.facts(event)            -> list[Fact]               # hot path; not for several threads at once
    engine.add(fact, now_ms)        -> Decision(alerts, late, limited, duplicate, unknown)
    matcher.facts_of(EventRun)      -> list[Found]              # the same for many events: a FactRun a rule,
    engine.add_run(run, now_ms)     -> list[(place, Decision)]  # and for many facts of a rule, in much less time
    engine.fold(facts)              -> None                     # any order; marks episodes, emits nothing
    engine.swap(ruleset)            -> tuple[Rule, ...]         # rules that start empty: fold their facts in
    engine.forget(budget=50_000)    -> int                      # keys dropped; call it now and then
    engine.stats()                  -> dict[str, RuleStats]     # keys, facts, bytes, newest, late, limited

    ruleset.rules, .running, .by_id(id), .digest, RuleSet.library_path()
    rule.retention                                              # ms of facts to fold: since newest - retention

Start reading at docs/rules.md.
"""
