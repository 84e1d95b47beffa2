# SPDX-License-Identifier: PostgreSQL
# report.jq: samples (case, who, measure, value, by tabs) in; out: rows, one for each thing that
# walferry did beside each peer that did it, too, and costs, by case and contender. The best
# streaming peer is the one with the highest rate.

def is_cost: test("^(CPU, |CPU near|CPU far|wire|peak)");
def round3: . * 1000 | round / 1000;
def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
def short: if . >= 100 then round elif . >= 10 then . * 10 | round / 10 else . * 100 | round / 100 end;
def summary:
    {median: (median | round3), min: min, max: max, samples: .}
    | .text = (if .samples | length == 1 then "\(.median | short)"
        else "\(.median | short) (\(.min | short)-\(.max | short))" end);
def goal($goals; $case; $measure; $peers): # of the file reach: the first that speaks of it
    first($goals[] | . as $g | select(($case | test("^\($g.case)$")) and .measure == $measure and ($peers | index($g.peer))));
def verdict($walferry; $peer): # {ratio, reach}; a sign with + is about the difference, in the measure's unit
    (if .sign == ">=" then $walferry / $peer >= .bound
     elif .sign == "<=" then $walferry / $peer <= .bound
     else $walferry - $peer <= .bound end) as $held
    | {reach: "\(.sign) \(.bound) \(if $held then "yes" else "no" end)"};

[$reach | split("\n")[] | select(test("^[^#]")) | [splits(" *\t *")]
    | {case: .[0], measure: .[1], peer: .[2], sign: .[3], bound: (.[4] | tonumber)}] as $goals
| [inputs | split("\t") | {line: input_line_number, case: .[0], who: .[1], measure: .[2], value: (.[3] | tonumber)}] as $samples
| [$samples | group_by([.case, .measure]) | sort_by(.[0].line)[] # as the cases ran
    | .[0].case as $case | .[0].measure as $measure
    | (map(select(.who == "walferry").value) | select(length > 0) | summary) as $walferry
    | [group_by(.who)[] | select(.[0].who != "walferry") | {name: .[0].who} + (map(.value) | summary)] as $peers
    | ([$peers[] | select(.name == "pg_receivewal" or .name == "native")] | max_by(.median).name) as $best
    | [goal($goals; $case; $measure; ["-"]) | verdict($walferry.median; 1)] as $alone
    | {case: $case, measure: $measure, walferry: $walferry}
    | ($alone[] as $a | . + $a),
      (select($measure | is_cost | not)
        | (select($peers == [] and $alone == [])),
          ($peers[] as $peer
            | . + {peer: $peer, ratio: ($walferry.median / $peer.median | round3)}
                + ((goal($goals; $case; $measure; [$peer.name, if $peer.name == $best then "streaming" else empty end])
                    | verdict($walferry.median; $peer.median)) // {})))] as $rows
| [$samples | map(select(.measure | is_cost)) | group_by([.case, .who]) | sort_by(.[0].line)[]
    | {case: .[0].case, who: .[0].who}
        + (group_by(.measure) | map({key: .[0].measure, value: (map(.value) | summary)}) | from_entries)] as $costs
| {machine: $machine, rows: $rows, costs: $costs}
