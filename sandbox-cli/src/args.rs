//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use sandbox::{Displays, Error, Executor, LambdaExecutor, Layer, LocalExecutor};

/// Runs untrusted code in a sandbox.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one program.
    Run(Box<RunArgs>),
    /// Show what this host enforces, by attacking it; exit 1 when an attack on a layer that it
    /// claims succeeds, or the default job would be refused.
    Doctor(DoctorArgs),
    /// Run a program in each size that a function may have, and show what is fastest, what is
    /// cheapest and what is between.
    Tune(Box<TuneArgs>),
    /// Run many programs, one of each line of a file.
    ///
    /// Each line is a JSON object with `code` and its `runtime`, or `command`; and of the following
    /// what it needs: `id`, `args`, `env`, `stdin`, `files`, `artifacts`, `limits`, `tenant` and
    /// `labels`. Text, `{"base64": ...}` or `{"path": ...}` are the content of a file; limits have
    /// the names of the options below.
    Batch(Box<BatchArgs>),
    /// Serve a tool that runs code to clients of the Model Context Protocol.
    ///
    /// Over standard input and output, unless --http is given.
    Mcp(Box<McpArgs>),
    /// Show what a deployment in AWS keeps of its promises: attack its functions from inside, and
    /// read the account. Exit 1 when a promise is broken or could not be tried.
    Verify(VerifyArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Backend {
    Local,
    Lambda,
}

impl Backend {
    /// An executor that also keeps figures which a program shows.
    pub(crate) async fn showing(self) -> Result<Displays<Arc<dyn Executor>>, Error> {
        Ok(Displays::new(self.executor().await?))
    }

    pub(crate) async fn executor(self) -> Result<Arc<dyn Executor>, Error> {
        Ok(match self {
            Self::Local => Arc::new(LocalExecutor::new().await?),
            Self::Lambda => Arc::new(LambdaExecutor::from_env().await?),
        })
    }

    /// How many programs run at once unless somebody says.
    pub(crate) fn usual_jobs(self) -> usize {
        match self {
            Self::Local => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Lambda => 100,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkArg {
    Denied,
    Host,
}

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// Where to run.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) backend: Backend,

    /// Print the outcome as one JSON object on stdout, and nothing else.
    #[arg(long)]
    pub(crate) json: bool,

    /// Let a terminal obey control sequences of the program. Without, they are shown.
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// Save artifacts in this folder, and figures that the program shows.
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) job: JobArgs,
}

/// A program and how it is run.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("program").required(true).args(["source", "code", "command"]))]
pub(crate) struct JobArgs {
    /// The language: python, r, node or bash. Default: by the file's extension, else python.
    #[arg(long, conflicts_with = "command")]
    pub(crate) runtime: Option<String>,

    /// A file with the program; - for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) source: Option<PathBuf>,

    /// The program itself.
    #[arg(short = 'c', value_name = "CODE", allow_hyphen_values = true)]
    pub(crate) code: Option<String>,

    /// Run what follows `--` as a command instead of source code.
    #[arg(long)]
    pub(crate) command: bool,

    /// Arguments of the program.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// A file to place in the workspace, under its own name or as DEST.
    #[arg(long = "file", value_name = "SRC[:DEST]")]
    pub(crate) inputs: Vec<String>,

    /// Standard input for the program; - for this command's own.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) stdin: Option<PathBuf>,

    /// Files to collect: a glob, or the name of a file or folder. Default: every file that the
    /// program created or changed.
    #[arg(long, value_name = "GLOB")]
    pub(crate) artifact: Vec<String>,

    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,
}

/// What a program may use.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Wall-clock limit, for example 5s or 500ms. Default 30s.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,

    /// CPU-time limit of the whole process tree. Default: all processors for as long as --timeout.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) cpu_time: Option<Duration>,

    /// Memory limit of the whole process tree, for example 256MiB. Default 512MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) memory: Option<ByteSize>,

    /// Processes and threads at once. Default 64.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) processes: Option<u32>,

    /// Open files of one process. Default 256.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) open_files: Option<u32>,

    /// Size of one file. Default: as --disk.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) file_size: Option<ByteSize>,

    /// Bytes in the workspace. Default: half of --memory, at least 256MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) disk: Option<ByteSize>,

    /// Files and folders in the workspace. Default 10000.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) files: Option<u64>,

    /// Bytes kept of each output stream. Default 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) output: Option<ByteSize>,

    /// Bytes of all files that are collected. Default 64MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) artifact_size: Option<ByteSize>,

    /// Files that are collected. Default 256.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) artifact_files: Option<u32>,
}

/// What a program runs under, besides limits.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConditionArgs {
    /// An environment variable for the program.
    #[arg(long, value_name = "K=V", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,

    /// Layers that must be in force.
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    pub(crate) require: Vec<Layer>,

    /// A layer that may be degraded or off.
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    pub(crate) allow_degraded: Vec<Layer>,

    /// The program's network.
    #[arg(long, value_enum, default_value = "denied")]
    pub(crate) network: NetworkArg,

    /// For whom it runs; functions that separate tenants ask for it.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The functions and the bucket are those of `SANDBOX_LAMBDA_FUNCTIONS` and
/// `SANDBOX_LAMBDA_BUCKET`.
#[derive(Debug, Parser)]
pub(crate) struct VerifyArgs {
    /// Judge CloudFormation templates that are deployed together, and no deployment.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inside", "url"])]
    pub(crate) template: Vec<PathBuf>,

    /// Attack from inside only, and do not read the account.
    #[arg(long)]
    pub(crate) inside: bool,

    /// An object of another account's, at a URL that was presigned there; it must not be readable.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Vec<String>,

    /// Where the Runtime API is, where that is not Lambda's own place.
    #[arg(long, value_name = "HOST:PORT", hide = true)]
    pub(crate) runtime_api: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// In Lambda, the sizes are those of the functions of `SANDBOX_LAMBDA_FUNCTIONS`. Here, a size is
/// imitated by the share of the processors that Lambda gives to it, which takes a writable cgroup.
#[derive(Debug, Parser)]
pub(crate) struct TuneArgs {
    /// Where to run.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) backend: Backend,

    /// The sizes, in MB as Lambda has them. In Lambda: those of the functions.
    #[arg(
        long,
        value_name = "MB",
        value_delimiter = ',',
        default_value = "512,1024,1769,2048,3008,4096,6144,8192,10240"
    )]
    pub(crate) sizes: Vec<u32>,

    /// Runs in each size, after one that is not counted.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,

    /// Price it as on Graviton. In Lambda: as the functions are.
    #[arg(long)]
    pub(crate) arm64: bool,

    /// Write a chart, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) job: JobArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct BatchArgs {
    /// The file with the lines; - for standard input.
    #[arg(value_name = "FILE.jsonl")]
    pub(crate) source: PathBuf,

    /// Where to run.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) backend: Backend,

    /// Append the outcomes to this file, one JSON object a line, instead of printing them. Jobs
    /// that have an outcome there do not run again.
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,

    /// Save artifacts in this folder, in one of its own for each job.
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,

    /// Programs that run at once. Default: the number of processors here, 100 in Lambda.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct McpArgs {
    /// Where to run.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) backend: Backend,

    /// Serve over streamable HTTP at this address, for example 127.0.0.1:8000. An address that
    /// other machines reach needs a token.
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    pub(crate) http: Option<SocketAddr>,

    /// The token that HTTP clients must send as `Authorization: Bearer TOKEN`. In the variable it is
    /// not seen in lists of processes.
    #[arg(long, value_name = "TOKEN", env = "SANDBOX_MCP_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// The origin of pages in browsers that may use the server over HTTP, for example
    /// http://localhost:6274. Others are refused.
    #[arg(long, value_name = "ORIGIN", value_parser = crate::mcp::origin, requires = "http")]
    pub(crate) allow_origin: Vec<String>,

    /// Programs that run at once; more wait for their turn.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,

    /// The languages to offer. Default: every runtime that the backend has.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) runtime: Vec<String>,

    /// The longest time that a call may ask for. Default: twice --timeout.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) longest: Option<Duration>,

    /// A file that programs find, under its own name or as DEST.
    #[arg(long = "file", value_name = "SRC[:DEST]")]
    pub(crate) inputs: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; give a number and a unit, such as 5s or 500ms"))
}

pub(crate) fn size(text: &str) -> Result<ByteSize, String> {
    let size: Result<ByteSize, _> = text.parse();
    match size {
        // The parser cuts what does not fit into 64 bits.
        Ok(ByteSize(u64::MAX)) => Err("more than anything can have; give a smaller size".into()),
        Ok(size) => Ok(size),
        Err(_) => Err("not a size; give a number and a unit, such as 256MiB".into()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "not IP:PORT; give an address and a port, such as 127.0.0.1:8000".into())
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What tests of this module have found.
    #[test]
    fn odd_sizes_and_times_are_refused_or_exact() {
        for bad in [
            "",
            "-1",
            "-1MiB",
            "NaN",
            "inf",
            "1e99",
            "99999999999TiB",
            "18446744073709551616",
            "18446744073709551615",
            "1 2",
            "1MiBx",
            "MiB",
            "0x10",
            "1,5MiB",
            "\u{661}MiB",
        ] {
            assert!(size(bad).is_err(), "{bad:?} became {:?}", size(bad));
        }
        for (good, bytes) in [
            ("0", 0),
            ("1", 1),
            ("1.5KiB", 1536),
            ("256MiB", 256 << 20),
            ("1 GiB", 1 << 30),
            ("10kB", 10_000),
        ] {
            assert_eq!(size(good), Ok(ByteSize(bytes)), "{good}");
        }
        for bad in [
            "",
            "-1s",
            "1",
            "NaN",
            "s",
            "1e3s",
            "99999999999999999999s",
            "18446744073710ms",
            "5 parsecs",
        ] {
            assert!(time(bad).is_err(), "{bad:?} became {:?}", time(bad));
        }
        for (good, ms) in
            [("0s", 0), ("500ms", 500), ("1.5s", 1500), ("1m 30s", 90_000), ("2h", 7_200_000)]
        {
            assert_eq!(time(good), Ok(Duration::from_millis(ms)), "{good}");
        }
    }

    proptest! {
        #[test]
        fn text_of_any_kind_is_an_answer(text in any::<String>()) {
            let _ = (size(&text), time(&text), variable(&text));
        }

        #[test]
        fn text_that_is_almost_right_is_an_answer(text in r"[-+]?[0-9]{0,25}\.?[0-9]{0,5} ?[a-zA-Z]{0,4}") {
            let _ = (size(&text), time(&text));
        }

        #[test]
        fn a_number_of_mebibytes_is_that_number(number in 0u64..1 << 43) {
            let expected = number.checked_mul(1 << 20).filter(|bytes| *bytes < 1 << 53);
            // Beyond, a float is not exact; a size is never larger than what was written.
            if let Some(bytes) = expected {
                prop_assert_eq!(size(&format!("{number}MiB")), Ok(ByteSize(bytes)));
            }
        }

        #[test]
        fn a_number_of_milliseconds_is_that_number(number in 0u64..1 << 44) {
            prop_assert_eq!(time(&format!("{number}ms")), Ok(Duration::from_millis(number)));
        }
    }
}
