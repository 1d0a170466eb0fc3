//! All 116 compliance cases of the tool kit over its six projects, for devices of level L0 and L1, against running instances.
//!
//! Four instances (purpose x level) run at once, and in each its three devices: most of the wall time is captures that must wait ten
//! seconds. What changes a device's state runs alone. Where the tool kit's own schemas are at hand (`BIOTRUST_CTK_FIXTURES`) every
//! answer is held against them too.

use std::collections::BTreeMap;
use std::time::Instant;

use biotrust_tests::Instance;
use biotrust_tests::ctk::run::{Outcome, Run};
use biotrust_tests::ctk::validators::Exchange;
use biotrust_tests::ctk::{CASES, Case, Operator, Project};
use biotrust_tests::instance::Setup;

mod fixtures;

/// Where the tool kit is served from in these tests.
const ORIGIN: &str = "https://compliance.example";

#[test]
fn all_cases_are_green_on_l0_and_l1() {
    let start = Instant::now();
    let schemas = std::env::var_os("BIOTRUST_CTK_FIXTURES")
        .map(|folder| fixtures::Schemas::read(&std::path::Path::new(&folder).join("schemas")));
    let combinations = [("registration", "l0"), ("registration", "l1"), ("auth", "l0"), ("auth", "l1")];
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let runs = combinations.map(|(profile, level)| {
            let schemas = schemas.as_ref();
            scope.spawn(move || instance_run(profile, level, schemas))
        });
        runs.into_iter().flat_map(|run| run.join().expect("a run ends")).collect()
    });
    println!("{}", table(&outcomes));
    let red: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).collect();
    for outcome in &red {
        let Outcome { id, project, level, .. } = outcome;
        println!("SBI{id} {} {level}: {}", project.label(), outcome.faults.join(" | "));
    }
    let green = outcomes.len() - red.len();
    println!(
        "{green} of {} runs of {} cases are green, in {:.0?}",
        outcomes.len(),
        CASES.len(),
        start.elapsed()
    );
    assert_eq!(outcomes.len(), 2 * 151, "every case ran for every project of its own, at both levels");
    assert!(red.is_empty(), "{} runs are red", red.len());
}

/// Every case of the projects of one instance.
fn instance_run(profile: &str, level: &str, schemas: Option<&fixtures::Schemas>) -> Vec<Outcome> {
    // Twelve devices encode and sign at once here, on two cores.
    let config = &[("sbi", "finish_margin_ms = 2000")];
    let options = &["--developer", ORIGIN];
    let instance = Instance::set_up(&Setup { profile, level, options, config, ..Setup::default() });
    let projects = Project::ALL.into_iter().filter(|p| p.purpose().eq_ignore_ascii_case(profile));
    let runs: Vec<(Project, Run<'_>)> = projects
        .map(|p| (p, Run::begin(&instance, ORIGIN, p).unwrap_or_else(|why| panic!("{p:?} {level}: {why}"))))
        .collect();
    let also = |case: &Case, exchange: &Exchange| {
        schemas.map_or_else(Vec::new, |s| schema_faults(s, case, exchange))
    };
    let together = |wanted: fn(Operator) -> bool| -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = runs
                .iter()
                .map(|(project, run)| scope.spawn(move || some_cases(*project, run, wanted, &also)))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a run ends")).collect()
        })
    };
    let mut outcomes = together(|operator| matches!(operator, Operator::Present | Operator::Rotates));
    instance.ctl(&["subject", "absent"]);
    outcomes.extend(together(|operator| operator == Operator::Absent));
    instance.ctl(&["subject", "present"]);
    for (project, run) in &runs {
        let alone = |o| matches!(o, Operator::Busy | Operator::NotReady | Operator::NotRegistered);
        outcomes.extend(some_cases(*project, run, alone, &also));
    }
    if outcomes.iter().any(|outcome| !outcome.faults.is_empty()) {
        let log = instance.daemon_log();
        let told: Vec<&str> =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        println!("{profile} {level}, from the daemon's log:\n  {}", told.join("\n  "));
    }
    outcomes
}

fn some_cases(
    project: Project,
    run: &Run<'_>,
    wanted: fn(Operator) -> bool,
    also: &dyn Fn(&Case, &Exchange) -> Vec<String>,
) -> Vec<Outcome> {
    let cases = CASES.iter().filter(|case| case.is_for(project) && wanted(case.operator));
    cases.map(|case| run.run(case, also)).collect()
}

/// The tool kit's own schema, where the case has a schema check.
fn schema_faults(schemas: &fixtures::Schemas, case: &Case, exchange: &Exchange) -> Vec<String> {
    if !case.validators.contains(&biotrust_tests::ctk::Validator::Schema) {
        return Vec::new();
    }
    let faults = schemas.faults(fixtures::schema_name(case.expect), &exchange.answer);
    faults.into_iter().map(|fault| format!("the tool kit's schema: {fault}")).collect()
}

/// Cases down, projects and levels across: a dot is green, a cross is red.
fn table(outcomes: &[Outcome]) -> String {
    let mut cells: BTreeMap<(u16, String), String> = BTreeMap::new();
    let column = |project: Project, level: &str| format!("{} {level}", project.label());
    for outcome in outcomes {
        let mark = if outcome.faults.is_empty() { "." } else { "X" };
        let cell = format!("{mark} {:>5} ms", outcome.took.as_millis());
        cells.insert((outcome.id, column(outcome.project, &outcome.level)), cell);
    }
    let columns: Vec<String> =
        Project::ALL.into_iter().flat_map(|p| ["L0", "L1"].map(|level| column(p, level))).collect();
    let mut text = format!("{:8}", "case");
    columns.iter().for_each(|name| text.push_str(&format!("{name:>11}")));
    for case in &CASES {
        text.push_str(&format!("\n{:8}", case.name()));
        for name in &columns {
            let cell = cells.get(&(case.id, name.clone())).map_or("", String::as_str);
            text.push_str(&format!("{cell:>11}"));
        }
    }
    text
}
