"""Every configuration key with its default and its meaning.

The keys follow PySlowFast's where both have them, so that a config carries over. A key that nothing reads does not
exist, and an unknown key in a YAML file or on the command line is refused (see `custom_config.load_config`).
Lists of two hold one entry for each pathway, Slow first.
"""

from fvcore.common.config import CfgNode

_C = CfgNode()

# Seed of the weights, of the order of the samples, of augmentation and of dropout. One seed gives one run.
_C.RNG_SEED = 0
# Let training and evaluation compute float32 convolutions and matrix products with ten bits of mantissa, which is
# faster: in TF32 on GPUs, in HF32 on Ascend. False: in full float32. Export always compares in full float32.
_C.ALLOW_TF32 = False
# Where checkpoints, logs, plots and evaluation results go; relative to the current folder.
_C.OUTPUT_DIR = "output"
# Training writes a json_stats line every so many steps.
_C.LOG_PERIOD = 10

# ---------------------------------------------------------------------------------------------------------- training
_C.TRAIN = CfgNode()
# Clips in a step on each device.
_C.TRAIN.BATCH_SIZE = 8
# Which key frames an epoch has. uniform: each once. repeat: those with classes in less than a share REPEAT_THRESHOLD of
# the key frames sqrt(REPEAT_THRESHOLD / share) times (LVIS's repeat factors). balanced: as many, all classes alike.
_C.TRAIN.SAMPLING = "uniform"
_C.TRAIN.REPEAT_THRESHOLD = 0.01
# Mix each clip with another of its batch, by a share from Beta(alpha, alpha); 0: do not.
_C.TRAIN.MIXUP_ALPHA = 0.0
# Evaluate every so many epochs, and after the last; 0: never.
_C.TRAIN.EVAL_PERIOD = 1
# Write checkpoints/slowfast-EPOCH_STEP.ckpt every so many epochs, and after the last.
_C.TRAIN.CHECKPOINT_PERIOD = 1
# Also every so many steps of an epoch; 0: not within epochs.
_C.TRAIN.CHECKPOINT_STEPS = 0
# How many of them to keep, the newest; 0: all. slowfast-best.ckpt, the weights of the best mAP, is kept beside them.
_C.TRAIN.KEEP_CHECKPOINTS = 0
# Go on from the newest whole checkpoint in OUTPUT_DIR, if there is one.
_C.TRAIN.AUTO_RESUME = False
# Weights to start from: a MindSpore checkpoint; empty: from scratch. A head of another size is left fresh.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# O0: float32. O2: float16 but for batch norm and the head. O3: float16 but for box pooling. bf16: bfloat16 like O2.
# A GPU has O0 alone; a CPU needs the kernels for CPUs (docs/performance.md) and AVX-512 for bf16.
_C.TRAIN.AMP_LEVEL = "O0"
# Multiplier of the loss under O2 and O3, against gradients too small for float16.
_C.TRAIN.LOSS_SCALE = 1024.0
# Dynamic loss scale: doubled after so many steps with finite gradients, halved where they are not (such a step is left
# out); 0: the scale stays.
_C.TRAIN.LOSS_SCALE_WINDOW = 0
# Batches of BATCH_SIZE that make one step, as if they were one larger batch (but for batch norm).
_C.TRAIN.ACCUMULATE_STEPS = 1
# Exponential moving average of the weights: weight of the old average in each step; 0: none. Validation then scores
# the averages, and slowfast-best.ckpt holds them.
_C.TRAIN.EMA_DECAY = 0.0
# Write TensorBoard's event files, beside the curves as PNG and JSON.
_C.TRAIN.TENSORBOARD = True

# -------------------------------------------------------------------------------------------------------- evaluation
_C.TEST = CfgNode()
# Clips in a batch on each device.
_C.TEST.BATCH_SIZE = 8
# The MindSpore checkpoint that eval.py and export.py load.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# Further checkpoints of the same recipe, whose probabilities eval.py averages with those of the first.
_C.TEST.ENSEMBLE_FILE_PATHS = []
# Short sides (pixels) at which eval.py scores each clip, as [224, 256, 320]; probabilities are averaged. []: at
# DATA.TEST_CROP_SIZE.
_C.TEST.SCALES = []
# eval.py averages over each clip and its mirror image.
_C.TEST.FLIP = False
# eval.py also scores with each probability multiplied by the score of the person's box in AVA.TEST_PREDICT_BOX_LISTS.
_C.TEST.PERSON_SCORE = False
# eval.py scores the averages that a training with TRAIN.EMA_DECAY left in its checkpoint beside the weights.
_C.TEST.USE_EMA = False
# What eval.py computes in, see TRAIN.AMP_LEVEL. (Validation between epochs computes as training does.)
_C.TEST.AMP_LEVEL = "O0"

# ------------------------------------------------------------------------------------------------------- the network
_C.MODEL = CfgNode()
# Classes that the head scores; class index c is id c + 1 in files.
_C.MODEL.NUM_CLASSES = 80
# Chance that a feature is dropped before the last layer, in training.
_C.MODEL.DROPOUT_RATE = 0.5
# The loss, by its name in src/models/losses.py: bce (binary cross-entropy of every class), focal (it, less for what is
# certain), balanced_bce (it, weighted by the inverse of each class's frequency), or cross_entropy (of a softmax, for
# classes that exclude each other).
_C.MODEL.LOSS_FUNC = "bce"
# What closes the head: sigmoid (independent classes), softmax (with cross_entropy), or none (logits).
_C.MODEL.HEAD_ACT = "sigmoid"
# How the head pools a pathway over time: mean, or max.
_C.MODEL.HEAD_TEMPORAL_POOL = "mean"
# Put features of the whole frame, pooled to as many bins as a box, beside those of each box.
_C.MODEL.HEAD_CONTEXT = False
# Actor-centric relation (ACRN) of each box to its frame: channels of its two convolutions (mmaction2: 2304); 0: none.
_C.MODEL.HEAD_ACRN = 0
# Standard deviation of the last layer's initial weights.
_C.MODEL.FC_INIT_STD = 0.01

_C.LOSS = CfgNode()
# The focal loss is alpha * (1 - p_t)^gamma * BCE, where p_t is the probability of the truth.
_C.LOSS.FOCAL_ALPHA = 3.0
_C.LOSS.FOCAL_GAMMA = 1.0
# Boxes without any label do not count (mmaction2); False: all their classes are negative (PySlowFast).
_C.LOSS.IGNORE_UNLABELED = False

_C.RESNET = CfgNode()
# One of src/models/stage_depths.py: 50 or 101 layers.
_C.RESNET.DEPTH = 50
# Channels of the first residual stage's 3 x 3 convolutions in the Slow pathway; all widths follow from it.
_C.RESNET.WIDTH_PER_GROUP = 64
# Start the last batch norm of each residual block at zero, so that a block starts as the identity.
_C.RESNET.ZERO_INIT_FINAL_BN = True
# For res2 to res5: how many of the first blocks use the pathway's temporal kernel; the others use 1.
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3, 3], [4, 4], [6, 6], [3, 3]]
# For res2 to res5: spatial stride of the first block.
_C.RESNET.SPATIAL_STRIDES = [[1, 1], [2, 2], [2, 2], [1, 1]]
# For res2 to res5: spatial dilation of the 3 x 3 convolutions.
_C.RESNET.SPATIAL_DILATIONS = [[1, 1], [1, 1], [1, 1], [2, 2]]

_C.NONLOCAL = CfgNode()
# For res2 to res5: the blocks that a non-local block follows.
_C.NONLOCAL.LOCATION = [[[], []], [[], []], [[], []], [[], []]]
# For res2 to res5: time, height and width of the max pooling before keys and values.
_C.NONLOCAL.POOL = [[[1, 2, 2], [1, 2, 2]], [[1, 2, 2], [1, 2, 2]], [[1, 2, 2], [1, 2, 2]], [[1, 2, 2], [1, 2, 2]]]
# How affinities are normalized: softmax or dot_product (divided by their number).
_C.NONLOCAL.INSTANTIATION = "dot_product"

_C.SLOWFAST = CfgNode()
# Frames of the Fast pathway for one of the Slow pathway.
_C.SLOWFAST.ALPHA = 4
# Channels of the Slow pathway for one of the Fast pathway.
_C.SLOWFAST.BETA_INV = 8
# Channels that a lateral connection gives for one of the Fast pathway.
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Temporal kernel of the lateral connections.
_C.SLOWFAST.FUSION_KERNEL_SZ = 7
# Batch norm and ReLU behind the lateral convolutions; False: the bare convolution, as most mmaction2 weights have it.
_C.SLOWFAST.FUSION_NORM = True

_C.BN = CfgNode()
_C.BN.EPSILON = 1e-5
# Weight of the new batch in the running statistics (PyTorch's sense of momentum).
_C.BN.MOMENTUM = 0.1
# Weight decay of batch-norm scales and shifts.
_C.BN.WEIGHT_DECAY = 0.0
# Training normalizes by the running statistics, which stay as the checkpoint gave them.
_C.BN.FREEZE_STATISTICS = False
# In training on several devices, normalize by the statistics of all of them together; False: each by its own clips'.
_C.BN.SYNC = False
# Before a checkpoint or an evaluation at the end of an epoch, compute the statistics of the present weights over so
# many batches on each device, instead of the running ones.
_C.BN.USE_PRECISE_STATS = False
_C.BN.NUM_BATCHES_PRECISE = 200

_C.DETECTION = CfgNode()
# Input pixels for one pixel of the last feature map.
_C.DETECTION.SPATIAL_SCALE_FACTOR = 16
# Bins along each side of a pooled box.
_C.DETECTION.ROI_XFORM_RESOLUTION = 7
# Shift boxes by half a feature pixel before they are pooled (detectron2, PySlowFast); False: do not (pytorchvideo).
_C.DETECTION.ALIGNED = True
# Samples along each side of a bin; 0: as many as feature pixels, rounded up.
_C.DETECTION.SAMPLING_RATIO = 0
# 1: a box's far side lies one pixel further. With ALIGNED False and SAMPLING_RATIO 2, boxes are pooled as by the
# published MindSpore weights (MindSpore's ROIAlign of these arguments).
_C.DETECTION.ROI_END_MODE = 0

# ---------------------------------------------------------------------------------------------------------- the clips
_C.DATA = CfgNode()
# The folder that holds the frames and the annotations; AVA's folders below are relative to it.
_C.DATA.PATH_TO_DATA_DIR = "data/ava"
# frames: image files, as the frame lists name them. video: the same frames decoded from videos; no lists are needed.
_C.DATA.SOURCE = "frames"
# Frames of the Fast pathway.
_C.DATA.NUM_FRAMES = 32
# Distance of neighboring sampled frames, in frames of the video.
_C.DATA.SAMPLING_RATE = 2
# RGB mean and standard deviation, of pixel values in [0, 1].
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# Training: the short side is drawn from this range (pixels), then a square is cropped.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
_C.DATA.TRAIN_CROP_SIZE = 224
# Training: mirror half of the clips.
_C.DATA.RANDOM_FLIP = True
# Testing: the short side, in pixels; the aspect ratio is kept.
_C.DATA.TEST_CROP_SIZE = 224
# Testing at one fixed size instead, as exported graphs need; 0 and 0: short side as above.
_C.DATA.TEST_SCALE_HEIGHT = 0
_C.DATA.TEST_SCALE_WIDTH = 0

_C.DATA_LOADER = CfgNode()
# Processes that decode and augment, no more than there are cores; 0 or 1: a thread of the training process.
_C.DATA_LOADER.NUM_WORKERS = 8

_C.AVA = CfgNode()
# Folders below DATA.PATH_TO_DATA_DIR (or absolute).
_C.AVA.FRAME_DIR = "frames"
_C.AVA.VIDEO_DIR = "videos_15min"
_C.AVA.FRAME_LIST_DIR = "ava_annotations"
_C.AVA.ANNOTATION_DIR = "ava_annotations"
# Frame lists: original_vido_id video_id frame_id path labels, separated by spaces.
_C.AVA.TRAIN_LISTS = ["train.csv"]
_C.AVA.TEST_LISTS = ["val.csv"]
# Ground-truth boxes of training: video,second,x1,y1,x2,y2,class,person. Taken whole.
_C.AVA.TRAIN_GT_BOX_LISTS = ["ava_train_v2.2.csv"]
# Detected boxes: video,second,x1,y1,x2,y2,class,score. Taken above the threshold.
_C.AVA.TRAIN_PREDICT_BOX_LISTS = []
_C.AVA.TEST_PREDICT_BOX_LISTS = ["ava_val_predicted_boxes.csv"]
_C.AVA.DETECTION_SCORE_THRESH = 0.8
# A key frame none of whose detected boxes reaches the threshold keeps the best of them (mmaction2, with 0.9); False: it
# is left out (PySlowFast, with 0.8).
_C.AVA.DETECTION_KEEP_BEST = False
# What evaluation compares with, the key frames it leaves out ("": none), and the classes it scores.
_C.AVA.GROUNDTRUTH_FILE = "ava_val_v2.2.csv"
_C.AVA.EXCLUSION_FILE = "ava_val_excluded_timestamps_v2.2.csv"
_C.AVA.LABEL_MAP_FILE = "ava_action_list_v2.2_for_activitynet_2019.pbtxt"
# Frames a second (on disk, or to take from videos), the second at which a list or video file starts (AVA: 900 for
# frames and cut videos, 0 for whole ones), and the first and last second with key frames.
_C.AVA.FPS = 30
_C.AVA.FIRST_SECOND = 900
_C.AVA.VALID_SECONDS = [902, 1798]
# Validation during training on every key frame, not only on seconds divisible by 4.
_C.AVA.FULL_TEST_ON_VAL = False
# Training: change brightness, contrast and saturation, and add noise along the principal colors.
_C.AVA.TRAIN_USE_COLOR_AUGMENTATION = False
# With color augmentation: only the noise along the principal colors.
_C.AVA.TRAIN_PCA_JITTER_ONLY = True
_C.AVA.TRAIN_PCA_EIGVAL = [0.225, 0.224, 0.229]
_C.AVA.TRAIN_PCA_EIGVEC = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
# Testing: mirror every clip.
_C.AVA.TEST_FORCE_FLIP = False

# ----------------------------------------------------------------------------------------------------------- export
_C.EXPORT = CfgNode()
# MINDIR: as the installed MindSpore writes it. MINDIR_V1: for MindSpore 2.0 and MindSpore Lite 2.0, the C++ runner's
# on the CPU. ONNX: for onnxruntime and others. AIR: for CANN's ATC; needs an Ascend device.
_C.EXPORT.FORMAT = "MINDIR"
# ONNX only: one graph for any number of clips and boxes and any frame size, with 3-D kernels. BATCH_SIZE and NUM_BOXES
# are then what the C++ runner takes at a time.
_C.EXPORT.DYNAMIC = False
# Clips and boxes a clip of an exported graph of fixed shapes. Key frames with more boxes are run again.
_C.EXPORT.BATCH_SIZE = 1
_C.EXPORT.NUM_BOXES = 16
# Type of the graph's clips: float32, or float16, half the size; the network computes in float32 either way.
_C.EXPORT.CLIP_DTYPE = "float32"

# ---------------------------------------------------------------------------------------------------------- the solver
_C.SOLVER = CfgNode()
# Learning rate for SOLVER.REFERENCE_BATCH clips a step.
_C.SOLVER.BASE_LR = 0.1
# Scale BASE_LR and WARMUP_START_LR by clips a step (all devices) / REFERENCE_BATCH.
_C.SOLVER.AUTO_SCALE_LR = False
_C.SOLVER.REFERENCE_BATCH = 64
# steps_with_relative_lrs: BASE_LR times LRS[i] from epoch STEPS[i]. cosine: from BASE_LR to COSINE_END_LR.
_C.SOLVER.LR_POLICY = "steps_with_relative_lrs"
_C.SOLVER.STEPS = [0, 10, 15, 20]
_C.SOLVER.LRS = [1.0, 0.1, 0.01, 0.001]
_C.SOLVER.COSINE_END_LR = 0.0
# The cosine starts where the warm-up ends; False: at epoch 0, the warm-up hiding its beginning.
_C.SOLVER.COSINE_AFTER_WARMUP = False
# Learning rate of the head, as a multiple of the others'.
_C.SOLVER.HEAD_LR_FACTOR = 1.0
_C.SOLVER.MAX_EPOCH = 20
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.NESTEROV = False
# Hold every element of the gradients within this range around zero, or shorten all of them, as one vector, to this
# L2 norm; 0: do not.
_C.SOLVER.CLIP_GRAD_VAL = 0.0
_C.SOLVER.CLIP_GRAD_L2NORM = 0.0
_C.SOLVER.WEIGHT_DECAY = 1e-7
# Linear warm-up from WARMUP_START_LR over so many epochs (a fraction is allowed).
_C.SOLVER.WARMUP_EPOCHS = 5.0
_C.SOLVER.WARMUP_START_LR = 0.000125


def get_cfg() -> CfgNode:
    """Return a fresh copy of the defaults."""
    return _C.clone()
