//! What an invocation costs.

use std::time::Duration;

use sandbox_core::{Cost, Size};

use crate::function::{Architecture, FunctionSpec};
use crate::report::Report;

/// Prices in US dollars. The default is what AWS lists for us-east-1 without volume discounts on
/// 23 November 2026; see <https://aws.amazon.com/lambda/pricing/>.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PriceTable {
    /// A second of a GiB of memory on x86_64.
    pub gb_second_x86_64: f64,
    /// A second of a GiB of memory on arm64.
    pub gb_second_arm64: f64,
    /// A second of a GiB of `/tmp` beyond the first 512 MiB.
    pub storage_gb_second: f64,
    /// A request.
    pub request: f64,
    /// A GiB of streamed response beyond the first 6 MiB of each.
    pub streamed_gb: f64,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self {
            gb_second_x86_64: 0.000_016_666_7,
            gb_second_arm64: 0.000_013_333_4,
            storage_gb_second: 0.000_000_030_9,
            request: 0.000_000_2,
            streamed_gb: 0.008,
        }
    }
}

const GIB: f64 = (1u64 << 30) as f64;

impl PriceTable {
    /// What an invocation costs that is billed for so long with so much memory, without streamed
    /// responses or a larger `/tmp`.
    pub fn invocation(&self, architecture: Architecture, memory: Size, billed: Duration) -> Cost {
        let function = FunctionSpec { architecture, ..FunctionSpec::new("", memory, billed) };
        let report =
            Report { billed, duration: billed, memory, max_memory: Size::b(0), init: None };
        self.cost(&function, &report, 0)
    }

    /// The cost of an invocation, from the platform's own report.
    pub(crate) fn cost(&self, function: &FunctionSpec, report: &Report, streamed: u64) -> Cost {
        let (name, price) = match function.architecture {
            Architecture::X86_64 => ("x86_64", self.gb_second_x86_64),
            Architecture::Arm64 => ("arm64", self.gb_second_arm64),
        };
        let seconds = report.billed.as_secs_f64();
        let memory = report.memory.as_u64() as f64 / GIB;
        let storage = function.ephemeral_storage.as_u64().saturating_sub(Size::mib(512).as_u64());
        let extra = streamed.saturating_sub(6 << 20) as f64 / GIB;
        let usd = seconds * memory * price
            + seconds * (storage as f64 / GIB) * self.storage_gb_second
            + extra * self.streamed_gb
            + self.request;
        let init = match report.init {
            Some(init) => format!(" with {:.0} ms of init", init.as_secs_f64() * 1000.0),
            None => String::new(),
        };
        let basis = format!(
            "{} ms billed{init} x {} on {name}, 1 request, {streamed} bytes streamed{}",
            report.billed.as_millis(),
            report.memory,
            if function.tenant_isolation && report.init.is_some() {
                "; the charge for a tenant's new environment is not known here"
            } else {
                ""
            },
        );
        Cost { usd, basis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_price() {
        let mut function = FunctionSpec::new("f", Size::mib(2048), Duration::from_secs(30));
        let mut report = Report {
            billed: Duration::from_secs(10),
            duration: Duration::from_secs(9),
            memory: Size::mib(2048),
            max_memory: Size::mib(100),
            init: Some(Duration::from_secs(1)),
        };
        let prices = PriceTable::default();
        let close = |cost: Cost, usd: f64| assert!((cost.usd - usd).abs() < 1e-12, "{cost:?}");
        // 20 GB-seconds and a request.
        close(prices.cost(&function, &report, 0), 20.0 * 0.000_016_666_7 + 0.000_000_2);
        function.architecture = Architecture::Arm64;
        close(prices.cost(&function, &report, 0), 20.0 * 0.000_013_333_4 + 0.000_000_2);
        // A GiB beyond the first six MiB.
        let streamed = (1 << 30) + (6 << 20);
        let arm = 20.0 * 0.000_013_333_4 + 0.000_000_2;
        close(prices.cost(&function, &report, streamed), arm + 0.008);
        function.ephemeral_storage = Size::mib(1536);
        close(prices.cost(&function, &report, 0), arm + 10.0 * 0.000_000_030_9);
        let alone = prices.invocation(Architecture::Arm64, report.memory, report.billed);
        close(alone, arm);
        report.billed = Duration::ZERO;
        close(prices.cost(&function, &report, 0), 0.000_000_2);
    }
}
