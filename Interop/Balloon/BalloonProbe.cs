using System.Threading;

namespace LowLevel.Interop.Balloon;

/// <summary>Makes a driver say how much is in its balloon. One that was served by another host before tells this one nothing as long as it has what it
/// is asked for; so it is asked for a number of pages that it hardly has, moves a step, says what it has then, and is asked for what is really
/// wanted. Thread-safe.</summary>
internal sealed class BalloonProbe
{
    private readonly Lock _guard = new();
    private uint _pages;
    private bool _hasHeard;

    /// <summary>What to ask for in place of the target; 0: the driver's word is known.</summary>
    public uint Pages => Volatile.Read(ref _pages);

    /// <summary>The driver goes on where another host left it. False: its word is known already.</summary>
    public bool TryBegin()
    {
        lock (_guard)
        {
            Volatile.Write(ref _pages, _hasHeard ? 0 : 1u);
            return !_hasHeard;
        }
    }

    /// <summary>Should it have just what it was asked for, it is asked for something else.</summary>
    public void TryAgain()
    {
        lock (_guard)
        {
            Volatile.Write(ref _pages, _pages == 0 ? 0 : _pages ^ 3);
        }
    }

    /// <summary>The driver has said what it has. True: it had been asked.</summary>
    public bool End()
    {
        lock (_guard)
        {
            bool wasAsked = _pages != 0;
            Volatile.Write(ref _pages, 0);
            _hasHeard = true;
            return wasAsked;
        }
    }

    /// <summary>A driver that begins anew.</summary>
    public void Reset()
    {
        lock (_guard)
        {
            Volatile.Write(ref _pages, 0);
            _hasHeard = false;
        }
    }
}
