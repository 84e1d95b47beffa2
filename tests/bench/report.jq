# report.jq: samples (case, who, measure, value, by tabs) in, one row for each thing that walferry
# did beside each peer that did it, too, out. The best streaming peer is the one with the highest rate.

def round3: . * 1000 | round / 1000;
def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
def short: if . >= 100 then round elif . >= 10 then . * 10 | round / 10 else . * 100 | round / 100 end;
def summary:
    {median: median, min: min, max: max, samples: .}
    | .text = (if .samples | length == 1 then "\(.median | short)"
        else "\(.median | short) (\(.min | short)-\(.max | short))" end);
def held($ratio): # "CASE MEASURE PEER >= N" of the file reach
    if .sign == ">=" then $ratio >= .bound else $ratio <= .bound end;

[$reach | split("\n")[] | select(test("^[a-z]")) | split("\t") | {case: .[0], measure: .[1], peer: .[2], sign: .[3], bound: (.[4] | tonumber)}] as $goals
| [inputs | split("\t") | {case: .[0], who: .[1], measure: .[2], value: (.[3] | tonumber)}]
| . as $samples
| (map([.case, .measure]) | reduce .[] as $k ([]; if index([$k]) then . else . + [$k] end)) as $order
| [$order[] as [$case, $measure]
    | ($samples | map(select(.case == $case and .measure == $measure))) as $here
    | ($here | map(select(.who == "walferry").value)) as $ours
    | select($ours | length > 0)
    | ($ours | summary) as $walferry
    | ([$here | group_by(.who)[] | select(.[0].who != "walferry") | {name: .[0].who} + (map(.value) | summary)]) as $peers
    | ($peers | map(select(.name == "pg_receivewal" or .name == "native")) | max_by(.median).name) as $best
    | {case: $case, measure: $measure, walferry: $walferry} as $row
    | if $peers == [] then
        ([$goals[] | . as $g | select(.case as $c | $case | test("^\($c)$")) | select(.measure == $measure and .peer == "-")][0]) as $goal
        | $row + if $goal then {reach: "\($goal.sign) \($goal.bound) \(if $goal | held($walferry.median) then "yes" else "no" end)"} else {} end
      else
        $peers[] | . as $peer
        | ($walferry.median / $peer.median | round3) as $ratio
        | ([$goals[] | . as $g | select($case | test("^\($g.case)$"))
            | select(.measure == $measure and (.peer == $peer.name or (.peer == "streaming" and $peer.name == $best)))][0]) as $goal
        | $row + {peer: $peer, ratio: $ratio}
            + if $goal then {reach: "\($goal.sign) \($goal.bound) \(if $goal | held($ratio) then "yes" else "no" end)"} else {} end
      end]
