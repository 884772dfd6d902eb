//! The report: one HTML file that needs nothing else, opens anywhere and prints well.

use super::chart::escape;
use super::claims::{Claim, Found};
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 Georgia,'Times New Roman',serif;color:#1c222b;background:#fff;max-width:52rem;\
margin:2rem auto;padding:0 1rem}h1,h2,th{font-family:system-ui,sans-serif}h1{font-size:1.7rem}h2{font-size:1.2rem;\
margin-top:2.4rem;border-top:1px solid #d9dee6;padding-top:1rem}table{border-collapse:collapse;font-size:.8rem;\
font-variant-numeric:tabular-nums;display:block;overflow-x:auto}td,th{padding:.15rem .6rem .15rem 0;text-align:left;\
border-bottom:1px solid #eceff3}figure{margin:1rem 0;break-inside:avoid}svg{width:100%;height:auto;max-width:40rem}\
code,pre{font:.8rem ui-monospace,monospace}pre{white-space:pre-wrap;background:#f6f7f9;padding:.6rem}\
.quiet{color:#5b6675}@media print{body{margin:0;max-width:none;font-size:11pt}h2{break-after:avoid}a{color:inherit}}";

/// The report of sections that are there, and of those that are not yet.
pub fn report(sections: &[(&Claim, Option<String>)], about: &str) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>nom: the paper, run again</title><style>{STYLE}</style></head><body>\n\
         <h1>The nom paper, run again</h1>\n<p class=\"quiet\">{}</p>\n<ul>\n",
        escape(about)
    );
    for (claim, _) in sections {
        let _ = writeln!(out, "<li><a href=\"#{}\">{}</a></li>", claim.name, escape(claim.title));
    }
    out.push_str("</ul>\n");
    for (claim, text) in sections {
        match text {
            Some(text) => out.push_str(text),
            None => {
                let why = "the run has not come this far; `nom bench paper --resume` goes on";
                out.push_str(&section(claim, Err(why)));
            }
        }
    }
    out.push_str("</body></html>\n");
    out
}

/// The section of a claim, or why there is nothing to tell.
pub fn section(claim: &Claim, found: Result<&Found, &str>) -> String {
    let kind = if claim.virtual_time {
        "virtual time: the same figures each time"
    } else {
        "measured on this machine"
    };
    let mut out = format!(
        "<h2 id=\"{0}\">{1}</h2>\n<p class=\"quiet\"><code>nom bench paper --claim {0}</code> ({kind})</p>\n",
        claim.name,
        escape(claim.title)
    );
    match found {
        Err(why) => drop(writeln!(out, "<p><b>Not measured:</b> {}</p>", escape(why))),
        Ok(found) => body(&mut out, claim, found),
    }
    out
}

fn body(out: &mut String, claim: &Claim, found: &Found) {
    let _ = writeln!(
        out,
        "<p><b>The paper found:</b> {}</p>\n<p><b>We found:</b> {}</p>\n<p><b>Why they differ:</b> {}</p>",
        escape(claim.paper),
        escape(&found.ours),
        escape(claim.why)
    );
    for chart in &found.charts {
        let _ = writeln!(out, "<figure>{chart}</figure>");
    }
    out.push_str("<table>\n");
    for (number, row) in found.rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    let _ = writeln!(
        out,
        "</table>\n<details open><summary>Configuration</summary><pre>{}</pre></details>",
        escape(&found.configuration)
    );
}
