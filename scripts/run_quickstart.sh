#!/usr/bin/env bash
# See SlowFast work on this machine: set up, draw a sample dataset, train on it, score held-out videos.
# Usage: bash scripts/run_quickstart.sh [FOLDER]
#   FOLDER  where everything goes, default output/quickstart
#   PYTHON  in the environment: an interpreter that has MindSpore; then nothing is set up
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

(($# <= 1)) || usage
folder="${1:-output/quickstart}"
cfg=configs/sample/SLOWFAST_SAMPLE.yaml

if [[ -z ${PYTHON:-} ]]; then
    bash scripts/setup.sh
    PYTHON=$root/.venv/bin/python
fi
find_python
"$python" -m src.datasets.sample "$folder/sample_data"
started=$SECONDS
"$python" train.py --cfg "$cfg" DATA.PATH_TO_DATA_DIR "$folder/sample_data" OUTPUT_DIR "$folder"
# The last that this run wrote: others may lie there.
written='import json, sys; print(json.load(open(sys.argv[1]))["checkpoints"][-1]["name"])'
checkpoint="$folder/checkpoints/$("$python" -c "$written" "$folder/checkpoints/run.json")"
scores="$("$python" eval.py --cfg "$cfg" DATA.PATH_TO_DATA_DIR "$folder/sample_data" OUTPUT_DIR "$folder" \
    TEST.CHECKPOINT_FILE_PATH "$checkpoint" | tee >(cat >&2))"
"$python" -m src.evaluation --groundtruth "$folder/groundtruth_test.csv" --detections "$folder/detections_test.csv" \
    --labelmap "$folder/sample_data/ava_annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt" \
    --report "$folder/report" >/dev/null
"$python" -m src.visualization.detections --cfg "$cfg" --detections "$folder/detections_test.csv" --out "$folder/images" \
    DATA.PATH_TO_DATA_DIR "$folder/sample_data"
# Drawn figures are no persons to a detector: their boxes come from the sample's list.
"$python" predict.py --cfg "$cfg" --video "$folder/sample_data/videos/sample_val_01.mp4" --out "$folder/predicted" \
    --boxes "$folder/sample_data/ava_annotations/ava_val_predicted_boxes.csv" \
    DATA.PATH_TO_DATA_DIR "$folder/sample_data" TEST.CHECKPOINT_FILE_PATH "$checkpoint"
map="$(sed -n "s|^'PascalBoxes_Precision/mAP@0.5IOU': ||p" <<<"$scores")"
cat <<TEXT

mAP on held-out sample videos: $map   (training and evaluation took $((SECONDS - started)) seconds)
  data         $folder/sample_data      (frames, box lists, and the videos to look at)
  checkpoint   $checkpoint
  detections   $folder/detections_test.csv
  report       $folder/report/index.html      (open it in a browser: what is right and what is lost)
  images       $folder/images        (what each person is said to do: green is right, red is wrong)
  curves       $folder/train_loss.png, $folder/val_map.png
  page         $folder/predicted/index.html      (a held-out video: who does what, and when)
  log          $folder/log.txt      (every step)
TEXT
