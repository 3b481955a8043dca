//! What a deployment in AWS promises, and whether that is so.
//!
//! A [`Deployment`] is what there is: [read from templates](Template) before anything is deployed,
//! or [from an account](account::Account) afterwards. The same [rules](check) judge both.

#![forbid(unsafe_code)]

pub mod account;
mod model;
mod policy;
mod rules;
mod template;

pub use model::{
    Bucket, Deployment, Dns, DnsRule, Door, Egress, Endpoint, Function, Gateway, Part, Role, Route,
    RouteTable, SecurityGroup, Subnet, Watch,
};
pub use policy::{Effect, Policy, Statement};
pub use rules::{Finding, PROMISES, check};
pub use template::{Template, TemplateError};
