"""The command `recmtl`: a group of subcommands on click, one module a subject.

A module holds the options of its commands, which answer `--help` and mistakes at once, and what a
command does imports torch and the tables only when it is started. `main` is the whole of it as a
function; what a command gives goes to the standard output, all else to the standard error.
"""
