"""Train attackers on one person's photos: clean, noisy and protected, and compare what they get.

python examples/audit_one_person.py safe/ report/ [dreambooth:steps=100,sampling.n=8]
"""

import sys

import cloakwork

safe, report, *rest = sys.argv[1:]
attacker = rest[0] if rest else "dreambooth"

# the records beside the protected photos know the originals
found = cloakwork.audit(safe, report, attacker=attacker, purifiers="none jpeg")
for sentence in (*found.verdicts, *found.sentences):
    print(sentence)
for row in found.rows:
    change = row.against_clean
    interval = f"[{change.low:+.2f}, {change.high:+.2f}]"
    print(f"{row.threat_model}, {row.metric}: {change.mean:+.2f} {interval}")
