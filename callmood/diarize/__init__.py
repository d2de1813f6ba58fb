"""Who speaks when: audio in, speaker turns out."""
