"""Commands for operators: a client of `/internal/inspect` in the terminal.

Reading order:

    client      asks a server
    commands    `greenroom inspect`, `dead` and `status`: text for people, JSON for scripts
    top         `greenroom top`: the node as it is, refreshed each second
"""
