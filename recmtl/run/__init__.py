"""A job from Python: `fit`, the steps one by one, and `Run`, which is what they leave in a folder.

    fit                    prepare, train, judge, bundle, report, score: a verdict
    describe               a draft of the schema, to read and correct
    prepare ... evaluate   the steps of `fit`, each with the `Run` that the one before has returned
    open_run               the `Run` of a folder, whoever has left it: this process or a command

`recmtl` has these names too (`open_run` as `open`), and loads them when they are first used.
"""
