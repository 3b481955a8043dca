//! How a program ended, and what to do about a limit that it hit.

use sandbox_core::{LimitKind, Limits, Outcome, Termination};

use super::arguments::Rules;
use super::definition::seconds;

/// How the program ended; where a limit ended it, with what to change.
pub(crate) fn end(outcome: &Outcome, limits: &Limits, rules: &Rules) -> String {
    let wall = outcome.usage.wall.as_secs_f64();
    match &outcome.termination {
        Termination::Exited(0) => format!("The program ended well after {wall:.1} s."),
        Termination::Exited(code) => {
            format!("The program failed with exit status {code} after {wall:.1} s.")
        }
        end @ Termination::Signaled(_) => format!("The program was {end} after {wall:.1} s."),
        Termination::WallTime(evidence) | Termination::CpuTime(evidence) => {
            let what = match outcome.termination {
                Termination::CpuTime(_) => "processor time, over all its processes and threads",
                _ => "running time",
            };
            let more = if evidence.limit < rules.longest {
                format!(", or give timeout_seconds (at most {})", rules.longest.as_secs_f64())
            } else {
                String::new()
            };
            format!(
                "The program was stopped: it used up its {} of {what}. Do less work in one call, \
                 use a faster method{more}.",
                seconds(evidence.limit)
            )
        }
        Termination::Memory(evidence) => format!(
            "The program was stopped: it needed more than its {} of memory. Work in pieces (read \
             files in chunks, only the columns that are used), take smaller types, and delete what \
             is no longer needed.",
            evidence.limit
        ),
        Termination::Output(evidence) => format!(
            "The program was stopped: it printed more than {} to {}. Print less, or write to a \
             file.",
            evidence.limit, evidence.stream
        ),
        Termination::Disk(evidence) => match evidence.limit_kind {
            LimitKind::FileSize => format!(
                "The program was stopped: a file grew beyond {}. Write less, or several files.",
                evidence.limit
            ),
            _ => format!(
                "The program was stopped: its files together grew beyond {}. Write less, and \
                 delete files that are no longer needed.",
                limits.workspace()
            ),
        },
        Termination::Cancelled => "The program was cancelled.".into(),
        other => format!("The program ended: {}.", other.reason()),
    }
}

/// Limits that the program ran into without being ended by them.
pub(crate) fn hit(outcome: &Outcome, limits: &Limits) -> Vec<String> {
    let advice = |kind: &LimitKind| {
        Some(match kind {
            LimitKind::Memory => format!(
                "It was refused memory at its limit of {}: work in pieces or take smaller types.",
                limits.memory
            ),
            LimitKind::Processes => format!(
                "It was refused a process or thread at its limit of {}: use fewer workers.",
                limits.processes
            ),
            LimitKind::OpenFiles => format!(
                "It had {} files open, the most it may: close files after use.",
                limits.open_files
            ),
            LimitKind::FileSize => {
                format!("A file has reached the size of {}, the most it may.", limits.file_size())
            }
            LimitKind::Workspace => format!(
                "Its files together have reached {}, the most they may: write less.",
                limits.workspace()
            ),
            LimitKind::Files => {
                format!("It has made {} files, the most it may: make fewer.", limits.files)
            }
            LimitKind::Artifacts => format!(
                "Some files were not kept: at most {} files and {} together are.",
                limits.artifact_files, limits.artifacts
            ),
            // Said where the output is, or by how the program ended.
            _ => return None,
        })
    };
    outcome.limits_hit.iter().filter_map(advice).collect()
}
