namespace LowLevel.Allocator;

/// <summary>Where a zone's reactor is in its round (the 2019 series' aerator cycle): Idle, then Fill, React, Settle, Decant, and Idle again.</summary>
public enum Stage
{
    /// <summary>The reactor is empty; nothing rests long enough, or treatment is off.</summary>
    Idle,

    /// <summary>Raw free blocks are taken from the free lists, at most the reactor's capacity, under the zone lock.</summary>
    Fill,

    /// <summary>The batch is published on the ring and the device is notified.</summary>
    React,

    /// <summary>The device has the batch; the reactor waits until it comes back.</summary>
    Settle,

    /// <summary>The blocks go back to the free lists as treated, or as raw if the device did nothing, in one hold of the zone lock.</summary>
    Decant,
}
