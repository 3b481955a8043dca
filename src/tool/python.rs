//! Tracebacks, without the frames of libraries that say nothing about the program.

/// Of consecutive frames inside libraries, the last one is where the error was raised; those
/// before it are counted.
pub(crate) fn shorten(stderr: &str) -> String {
    if !stderr.contains("Traceback (most recent call last):") {
        return stderr.to_owned();
    }
    let mut text = String::with_capacity(stderr.len());
    let mut lines = stderr.split_inclusive('\n').peekable();
    let mut hidden = 0;
    while let Some(line) = lines.next() {
        if !is_frame(line) {
            text.push_str(line);
            continue;
        }
        let mut frame = String::from(line);
        // The source line and its marks.
        while let Some(more) = lines.next_if(|line| line.starts_with("    ")) {
            frame.push_str(more);
        }
        let next_is_library = lines.peek().is_some_and(|line| is_frame(line) && is_library(line));
        if is_library(line) && next_is_library {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            text.push_str(&format!("  [... {hidden} frames inside libraries ...]\n"));
            hidden = 0;
        }
        text.push_str(&frame);
    }
    text
}

/// Where the last traceback begins.
pub(crate) fn last_traceback(text: &str) -> Option<usize> {
    text.rfind("Traceback (most recent call last):")
}

fn is_frame(line: &str) -> bool {
    line.starts_with("  File \"")
}

fn is_library(frame: &str) -> bool {
    let file = frame.trim_start().trim_start_matches("File \"");
    let file = file.split('"').next().unwrap_or_default();
    ["/site-packages/", "/dist-packages/", "/lib/python3."].iter().any(|place| file.contains(place))
        || file.starts_with("<frozen ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_frames_and_the_place_of_the_error_stay() {
        let traceback = r#"warning first
Traceback (most recent call last):
  File "/work/main.py", line 3, in <module>
    frame["x"]
    ~~~~~^^^^^
  File "/opt/venv/lib/python3.11/site-packages/pandas/core/frame.py", line 4, in __getitem__
    indexer = self.columns.get_loc(key)
  File "/opt/venv/lib/python3.11/site-packages/pandas/core/base.py", line 5, in get_loc
    raise KeyError(key) from err
  File "/opt/venv/lib/python3.11/site-packages/pandas/core/last.py", line 6, in last
    raise
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/work/main.py", line 9, in <module>
    main()
ValueError: no
"#;
        let short = shorten(traceback);
        assert!(!short.contains("frame.py") && !short.contains("base.py"), "{short}");
        assert!(short.contains("  [... 2 frames inside libraries ...]\n"), "{short}");
        for kept in ["warning first", "line 3", "~~~~~^^^^^", "last.py", "KeyError: 'x'", "line 9"]
        {
            assert!(short.contains(kept), "{kept}: {short}");
        }
        let none = "Traceback (most recent call last):\n  File \"<string>\", line 1";
        assert_eq!(shorten(none), none);
    }
}
