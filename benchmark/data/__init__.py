"""Files in, uint8 batches out.

In: data roots and a preset's `[data]` table. Out: `Data` (`load.py`) with a training, a validation and a test split,
in memory or, for `data.streamed`, as files that are decoded in every epoch; both are `Images` (`images.py`). Checksums
decide which files are official; every file is untrusted input.

`catalogue.py` has DATASETS with the facts of each; `listing.py` lists the files of an image folder, `folders.py` finds
and loads such folders; `checks.py` refuses images and labels of another form; `synthetic.py` writes made-up images in
official formats for smoke runs; `seeds.py` gives the seed of every random stream.

To add a data set, write a function (data roots, `DataSettings`) -> `Source`, or -> the path of an image folder, and
add a row to DATASETS. An image folder with a fixed name needs only the row, with the target of `imagenet`; any other
image folder needs nothing: give its path as `data.dataset`.
"""
