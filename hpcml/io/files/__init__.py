"""Files that appear whole or not at all: written beside and renamed, forced to the disk, told by their checksums."""
