"""The inside of a node, for operators: `/internal/inspect`.

Reading order, each file leaning only on the ones above it:

    access       who may look: the admin token, or a session opened with it
    section      one part of a node as operators see it: a summary, its details, its actions
    tree         the supervision tree, with mailboxes
    process      what one process answers
    merged       answers of several workers as one
    other_nodes  asks the processes of other nodes
    node         asks this process, its siblings, and other nodes
    rooms        rooms
    matches      matches, the queue of jobs, results that wait
    live         once a second what has changed, and fifteen minutes of numbers
    handlers     the routes; dashboard.html is the page
"""
