"""Tables, statistics and figures over finished runs. Renderers compute nothing."""
