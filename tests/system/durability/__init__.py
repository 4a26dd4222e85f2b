"""What a crash, a power cut, a sick disk and an unwilling Xen may not do to a decision."""
