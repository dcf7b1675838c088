"""The plain verbs, one module each: the options of a verb and what they start.

A module has `main(arguments)`. Whatever is heavy is imported when the options have been understood, so that help comes at once.
"""
