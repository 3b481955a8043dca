//! What somebody can see.

use super::{Answer, broken, seen};
use crate::model::Deployment;

pub(super) fn logged(all: &Deployment) -> Answer {
    match (seen(&all.watch.flows)?, seen(&all.watch.names)?) {
        (true, true) => Ok("flow logs of all traffic, and the resolver's".into()),
        (false, _) => broken("the VPC has no flow log of all traffic"),
        (_, false) => broken("queries of the resolver's are not logged"),
    }
}

pub(super) fn expire(all: &Deployment) -> Answer {
    let for_ever = seen(&all.watch.kept_for_ever)?;
    if !for_ever.is_empty() {
        return broken(format!("{} are kept for ever", for_ever.join(", ")));
    }
    if all.functions.is_empty() {
        return broken("there is no function");
    }
    match all.functions.iter().find(|function| function.log_group.is_none()) {
        // Lambda makes a group of that name, which keeps for ever.
        Some(function) => broken(format!("{} logs where nothing is set", function.name)),
        None => Ok("every group has a retention".into()),
    }
}

pub(super) fn alarms(all: &Deployment) -> Answer {
    let alarms = seen(&all.watch.alarms)?;
    for metric in ["Errors", "Throttles"] {
        if !alarms.iter().any(|watched| watched == metric) {
            return broken(format!("no alarm watches {metric}"));
        }
    }
    Ok("Errors and Throttles are watched".into())
}

pub(super) fn nothing_else(all: &Deployment) -> Answer {
    match all.unknown.as_deref().unwrap_or_default() {
        [] => Ok("every resource is known here".into()),
        unknown => broken(format!("not known to be harmless: {}", unknown.join(", "))),
    }
}
