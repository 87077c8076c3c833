"""Methods of somebody's own, quick and plain: attackers, protections, purifiers and metrics, some
of them faulty."""
